package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

// person is an identity entity with a password to log in with.
type person struct{ name, id string }

// enableUserpass makes logging in with passwords possible, once for the package.
var enableUserpass = sync.OnceValue(func() error {
	return vault.Client().Sys().EnableAuthWithOptions("userpass", &api.EnableAuthOptions{Type: "userpass"})
})

// newPerson makes an entity that may do everything at a mount.
func newPerson(t testing.TB, name, mount string) person {
	t.Helper()
	require.NoError(t, enableUserpass())
	name = fmt.Sprintf("%s-%d", name, policies.Add(1))
	policy := "all-of-" + mount
	require.NoError(t, vault.Client().Sys().PutPolicy(policy,
		fmt.Sprintf(`path "%s/*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }`, mount)))
	write(t, "auth/userpass/users/"+name, fields{"password": "secret of " + name, "token_policies": policy})
	id := text(t, write(t, "identity/entity", fields{"name": name}), "id")
	methods, err := vault.Client().Sys().ListAuth()
	require.NoError(t, err)
	write(t, "identity/entity-alias", fields{"name": name, "canonical_id": id, "mount_accessor": methods["userpass/"].Accessor})
	return person{name: name, id: id}
}

// login returns a token of the person.
func (p person) login(t testing.TB) string {
	t.Helper()
	secret, err := vault.Client().Logical().Write("auth/userpass/login/"+p.name, fields{"password": "secret of " + p.name})
	require.NoError(t, err)
	require.Equal(t, p.id, secret.Auth.EntityID)
	return secret.Auth.ClientToken
}

// setMetadata sets the metadata of the person's entity.
func (p person) setMetadata(t testing.TB, metadata fields) {
	t.Helper()
	write(t, "identity/entity/id/"+p.id, fields{"name": p.name, "metadata": metadata})
}

func TestAuthz3_RoleForAGroupRefusesEverybodyElse(t *testing.T) {
	name := fmt.Sprintf("issuers-of-web-%d", policies.Add(1))
	mount := softwareRoot(t, fields{"allowed_groups": name})
	member, other := newPerson(t, "alice", mount), newPerson(t, "bob", mount)
	group := text(t, write(t, "identity/group", fields{"name": name, "member_entity_ids": []string{member.id}}), "id")
	// A group whose name begins with the other's is another group.
	write(t, "identity/group", fields{"name": name + "-2", "member_entity_ids": []string{other.id}})

	memberToken, otherToken := member.login(t), other.login(t)
	orphan := tokenWith(t, `path "`+mount+`/*" { capabilities = ["update", "sudo"] }`)
	issue := func(token string) answer {
		return post(t, token, mount+"/issue/web", fields{"common_name": "a.example.com"})
	}
	issue(memberToken).data(t)
	for who, token := range map[string]string{"another person": otherToken, "root": rootClient, "token without entity": orphan} {
		t.Run(who, func(t *testing.T) {
			ask, sign := fields{"common_name": "a.example.com"}, fields{"csr": csr(t, "a.example.com")}
			for path, body := range map[string]fields{
				"issue/web": ask, "issuer/default/issue/web": ask, "roles/web/simulate": ask,
				"sign/web": sign, "issuer/default/sign/web": sign,
			} {
				post(t, token, mount+"/"+path, body).refused(t, http.StatusForbidden, "allowed_groups")
			}
			batch := post(t, token, mount+"/sign/web/batch", fields{"requests": []fields{sign}})
			require.NotContains(t, string(batch.Body), "BEGIN CERTIFICATE")
		})
	}

	write(t, "identity/group/id/"+group, fields{"name": name, "member_entity_ids": []string{}})
	issue(memberToken).refused(t, http.StatusForbidden, "allowed_groups")
}

func TestAuthz3_RoleForAnEntityRefusesEverybodyElse(t *testing.T) {
	mount := softwareRoot(t, nil)
	member, other := newPerson(t, "carol", mount), newPerson(t, "dave", mount)
	write(t, mount+"/roles/web", fields{"allow_any_name": true, "key_type": "ec", "ttl": "1h", "allowed_entities": member.id})
	post(t, member.login(t), mount+"/issue/web", fields{"common_name": "a.example.com"}).data(t)
	for _, token := range []string{other.login(t), rootClient} {
		post(t, token, mount+"/issue/web", fields{"common_name": "a.example.com"}).refused(t, http.StatusForbidden, "allowed_entities")
	}
	// A disabled entity has no token that works.
	token := member.login(t)
	write(t, "identity/entity/id/"+member.id, fields{"name": member.name, "disabled": true})
	require.Equal(t, http.StatusForbidden, post(t, token, mount+"/issue/web", fields{"common_name": "a.example.com"}).Status)
}

func TestNames2_TemplateGrantsWhatTheMetadataSays(t *testing.T) {
	mount := softwareRoot(t, fields{
		"allow_any_name": false, "allow_bare_domains": true, "allowed_domains_template": true,
		"allowed_domains": "{{identity.entity.metadata.host}}.example.com",
	})
	p := newPerson(t, "erin", mount)
	p.setMetadata(t, fields{"host": "web1"})
	token := p.login(t)
	post(t, token, mount+"/issue/web", fields{"common_name": "web1.example.com"}).data(t)
	post(t, token, mount+"/issue/web", fields{"common_name": "web2.example.com"}).refused(t, 400, "allowed_domains")
	post(t, rootClient, mount+"/issue/web", fields{"common_name": "web1.example.com"}).refused(t, 400, "allowed_domains")
}

func TestNames2_HostileMetadataGrantsNothing(t *testing.T) {
	mount := softwareRoot(t, fields{
		"allow_any_name": false, "allow_bare_domains": true, "allow_subdomains": true, "allow_glob_domains": true,
		"allowed_domains_template": true, "allowed_domains": "{{identity.entity.metadata.host}}.example.com",
	})
	p := newPerson(t, "mallory", mount)
	token := p.login(t)
	for _, host := range []string{
		"*", "*.", "*.*", "**", "a*", "?", "a,example.org", "example.org,", ",", "..", ".", "a..b", "a/", "example.org/", "a\nexample.org\n", "a\x00", " ", "",
		"{{identity.entity.name}}", "xn--\u3002", "a example.org", "a@example.org", "-", strings.Repeat("a", 64),
	} {
		t.Run(fmt.Sprintf("%q", host), func(t *testing.T) {
			p.setMetadata(t, fields{"host": host})
			for _, name := range []string{
				"example.org", "a.example.org", "www.example.com", "a.example.com", "a.b.example.com", "example.com", "*.example.com",
				p.name + ".example.com", "root",
			} {
				post(t, token, mount+"/issue/web", fields{"common_name": name}).refused(t, http.StatusBadRequest, "common_name")
			}
		})
	}
}
