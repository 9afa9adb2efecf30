package paths

import (
	"context"
	"reflect"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/profile"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const profileHelp = `
A profile defines the content of certificates: key, signature, validity, subject, names,
key usage, extensions and revocation. Each change creates an immutable version. A
certificate records the version under which it was issued. A new profile starts from its
preset, or from the defaults. The fields of the request replace those values.
`

type presetName struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name of the preset."`
}

type profileName struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name of the profile."`
}

type profileInput struct {
	profileName
	profile.Config
}

type profileAnswer struct {
	Name    string `json:"name" doc:"Name of the profile."`
	Version int    `json:"version" doc:"Number of this version, from 1."`
	profile.Config
}

type versionList struct {
	profileName
	schema.Page
}

type versionRef struct {
	profileName
	Version int `json:"version" in:"path" min:"1" max:"1000000000" doc:"Number of the version."`
}

type profileDiff struct {
	profileName
	From int `json:"from" min:"0" max:"1000000000" doc:"Number of the older version; 0 for the one before the newer."`
	To   int `json:"to" min:"0" max:"1000000000" doc:"Number of the newer version; 0 for the newest."`
}

type profileChange struct {
	From string `json:"from" doc:"Value in the older version, as JSON."`
	To   string `json:"to" doc:"Value in the newer version, as JSON."`
}

type diffAnswer struct {
	From    int                      `json:"from" doc:"Number of the older version."`
	To      int                      `json:"to" doc:"Number of the newer version."`
	Changes map[string]profileChange `json:"changes" doc:"Fields that differ, by name."`
}

func (m *mount) profilePaths() []*framework.Path {
	named := "profiles/" + schema.Segment("name")
	return []*framework.Path{
		schema.Path("presets/?", "List the shipped catalogue of profiles.", profileHelp,
			schema.List("List the presets.", m.listPresets)),
		schema.Path("presets/"+schema.Segment("name"), "Read a preset of the shipped catalogue.", profileHelp,
			schema.Read("Read a preset.", m.readPreset)),
		schema.Path("profiles/?", "List the profiles.", profileHelp,
			schema.List("List the profiles.", m.listProfiles)),
		schema.Path(named, "Declare a profile.", profileHelp,
			schema.Read("Read the newest version of a profile.", m.readProfile),
			schema.Write("Declare a profile, or create its next version from its preset and the given fields.", m.writeProfile),
			schema.Patch("Make the next version of a profile by changing some fields.", m.patchProfile),
			schema.Delete("Take a profile out of use that no role uses.", m.deleteProfile)),
		schema.Path(named+"/versions/?", "List the versions of a profile.", profileHelp,
			schema.List("List the versions of a profile.", m.listVersions)),
		schema.Path(named+"/versions/(?P<version>[1-9][0-9]{0,8})", "Read a version of a profile.", profileHelp,
			schema.Read("Read one version of a profile.", m.readVersion)),
		schema.Path(named+"/diff", "Compare two versions of a profile.", profileHelp,
			schema.Read("Compare two versions of a profile.", m.diffVersions)),
	}
}

func (m *mount) listPresets(_ context.Context, _ *schema.Call, in schema.Page) (schema.Keys, error) {
	return schema.Keys{Keys: in.Window(sorted(profile.Presets()))}, nil
}

func (m *mount) readPreset(_ context.Context, _ *schema.Call, in presetName) (profile.Config, error) {
	config, found := profile.Preset(in.Name)
	if !found {
		return profile.Config{}, fault.New(fault.NotFound, "there is no preset %s", in.Name)
	}
	return config, nil
}

func (m *mount) listProfiles(ctx context.Context, _ *schema.Call, in schema.Page) (schema.Keys, error) {
	names, err := m.engine.Catalog.Profiles(ctx)
	return schema.Keys{Keys: in.Window(names)}, err
}

func (m *mount) readProfile(ctx context.Context, _ *schema.Call, in profileName) (profileAnswer, error) {
	return m.profileVersion(ctx, in.Name, 0)
}

func (m *mount) profileVersion(ctx context.Context, name string, version int) (profileAnswer, error) {
	config, number, err := m.engine.Catalog.Profile(ctx, name, version)
	return profileAnswer{Name: name, Version: number, Config: config}, err
}

func (m *mount) writeProfile(ctx context.Context, call *schema.Call, in profileInput) (profileAnswer, error) {
	names, err := m.engine.Catalog.Profiles(ctx)
	if err != nil {
		return profileAnswer{}, err
	}
	if err := schema.CheckDistinct("name", in.Name, names); err != nil {
		return profileAnswer{}, err
	}
	start, err := profile.FromPreset(in.Preset)
	if err != nil {
		return profileAnswer{}, err
	}
	if err := schema.Change(in.Config, call.Given)(&start); err != nil {
		return profileAnswer{}, err
	}
	version, err := m.engine.Catalog.PutProfile(ctx, in.Name, start)
	return profileAnswer{Name: in.Name, Version: version, Config: start}, err
}

func (m *mount) patchProfile(ctx context.Context, call *schema.Call, in profileInput) (profileAnswer, error) {
	config, version, err := m.engine.Catalog.AmendProfile(ctx, in.Name, schema.Change(in.Config, call.Given))
	return profileAnswer{Name: in.Name, Version: version, Config: config}, err
}

func (m *mount) deleteProfile(ctx context.Context, _ *schema.Call, in profileName) (schema.None, error) {
	return schema.None{}, m.engine.Catalog.DeleteProfile(ctx, in.Name)
}

// listVersions lists numbers, which are ordered as numbers.
func (m *mount) listVersions(ctx context.Context, _ *schema.Call, in versionList) (schema.Keys, error) {
	_, newest, err := m.engine.Catalog.Profile(ctx, in.Name, 0)
	if err != nil {
		return schema.Keys{}, err
	}
	first := 1
	if in.After != "" {
		after, err := strconv.Atoi(in.After)
		if err != nil {
			return schema.Keys{}, fault.Field("after", "must be the number of a version")
		}
		first = max(1, after+1)
	}
	var numbers []string
	for n := first; n <= newest && (in.Limit == 0 || len(numbers) < in.Limit); n++ {
		numbers = append(numbers, strconv.Itoa(n))
	}
	return schema.Keys{Keys: numbers}, nil
}

func (m *mount) readVersion(ctx context.Context, _ *schema.Call, in versionRef) (profileAnswer, error) {
	return m.profileVersion(ctx, in.Name, in.Version)
}

func (m *mount) diffVersions(ctx context.Context, _ *schema.Call, in profileDiff) (diffAnswer, error) {
	newer, err := m.profileVersion(ctx, in.Name, in.To)
	if err != nil {
		return diffAnswer{}, err
	}
	if in.From == 0 {
		in.From = max(1, newer.Version-1)
	}
	older, err := m.profileVersion(ctx, in.Name, in.From)
	if err != nil {
		return diffAnswer{}, err
	}
	before, after := schema.Encode(older.Config), schema.Encode(newer.Config)
	answer := diffAnswer{From: older.Version, To: newer.Version, Changes: map[string]profileChange{}}
	for name, value := range after {
		if !reflect.DeepEqual(value, before[name]) {
			answer.Changes[name] = profileChange{From: asJSON(before[name]), To: asJSON(value)}
		}
	}
	return answer, nil
}
