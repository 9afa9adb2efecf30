package paths

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/backend/publisher"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const publisherHelp = `
A publisher copies CRLs and CA certificates to another place: a web server by HTTP PUT,
an LDAP directory, or files. pki-edge carries it out, because it has network access, and
reports the results at publishers/:name/status. A publisher contains no secret: it names a
credential of the edge's own configuration. Each edge carries out all publishers unless
its configuration names some.
`

type publisherName struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name of the publisher."`
}

type publisherInput struct {
	publisherName
	publisher.Settings
}

type publisherAnswer struct {
	publisher.Settings
	Version int64 `json:"version" doc:"Grows with each change."`
}

type publisherReport struct {
	publisherName
	feed.Report
}

type publisherStatus struct {
	Items []publisher.Result `json:"items" doc:"Last reports of the edges, by edge, issuer and object."`
}

func (m *mount) publisherPaths() []*framework.Path {
	named := "publishers/" + schema.Segment("name")
	return []*framework.Path{
		schema.Path("publishers/?", "List the publishers.", publisherHelp,
			schema.List("List the publishers.", m.listPublishers)),
		schema.Path(named, "Declare a publisher.", publisherHelp,
			schema.Read("Read a publisher.", m.readPublisher),
			schema.Write("Declare a publisher, or replace its settings.", m.writePublisher),
			schema.Patch("Change some settings of a publisher.", m.patchPublisher),
			schema.Delete("Remove a publisher; what it has published stays there.", m.deletePublisher)),
		schema.Path(named+"/status", "Read or report the results of a publisher.", publisherHelp,
			schema.Read("Read the last reports of the edges.", m.readPublisherStatus),
			schema.Write("Report results. Edges use this.", m.reportPublisher)),
	}
}

func (m *mount) listPublishers(ctx context.Context, _ *schema.Call, in schema.Page) (schema.Keys, error) {
	names, err := m.engine.Publishers.Names(ctx)
	return schema.Keys{Keys: in.Window(names)}, err
}

func (m *mount) readPublisher(ctx context.Context, _ *schema.Call, in publisherName) (publisherAnswer, error) {
	settings, version, err := m.engine.Publishers.Get(ctx, in.Name)
	return publisherAnswer{Settings: settings, Version: version}, err
}

func (m *mount) writePublisher(ctx context.Context, _ *schema.Call, in publisherInput) (publisherAnswer, error) {
	names, err := m.engine.Publishers.Names(ctx)
	if err != nil {
		return publisherAnswer{}, err
	}
	if err := schema.CheckDistinct("name", in.Name, names); err != nil {
		return publisherAnswer{}, err
	}
	settings := in.Settings
	if err := m.checkPublisher(ctx, &settings); err != nil {
		return publisherAnswer{}, err
	}
	version, err := m.engine.Publishers.Put(ctx, in.Name, settings)
	return publisherAnswer{Settings: settings, Version: version}, err
}

func (m *mount) patchPublisher(ctx context.Context, call *schema.Call, in publisherInput) (publisherAnswer, error) {
	settings, version, err := m.engine.Publishers.Amend(ctx, in.Name, func(settings *publisher.Settings) error {
		if err := schema.Change(in.Settings, call.Given)(settings); err != nil {
			return err
		}
		return m.checkPublisher(ctx, settings)
	})
	return publisherAnswer{Settings: settings, Version: version}, err
}

// checkPublisher refuses issuers that do not exist, and says each kind of list once.
func (m *mount) checkPublisher(ctx context.Context, settings *publisher.Settings) error {
	for _, ref := range settings.Issuers {
		if _, err := m.engine.Issuers.Get(ctx, ref); fault.Is(err, fault.NotFound) {
			return fault.Field("issuers", "there is no issuer %s", ref)
		} else if err != nil {
			return err
		}
	}
	settings.Publish = slices.Compact(slices.Sorted(slices.Values(settings.Publish))) // a copy: the stored list is shared
	return nil
}

func (m *mount) deletePublisher(ctx context.Context, _ *schema.Call, in publisherName) (schema.None, error) {
	return schema.None{}, m.engine.Publishers.Delete(ctx, in.Name)
}

func (m *mount) readPublisherStatus(ctx context.Context, _ *schema.Call, in publisherName) (publisherStatus, error) {
	items, err := m.engine.Publishers.Status(ctx, in.Name)
	return publisherStatus{Items: items}, err
}

func (m *mount) reportPublisher(ctx context.Context, _ *schema.Call, in publisherReport) (schema.None, error) {
	return schema.None{}, m.engine.Publishers.Report(ctx, in.Name, in.Report)
}
