package schema_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

type inner struct {
	CSR string `json:"csr" doc:"Request." max:"100"`
	TTL int64  `json:"ttl" doc:"Validity." kind:"duration"`
}

type common struct {
	AllowedDomains []string `json:"allowed_domains" doc:"Domains." items:"3" max:"20"`
}

type sample struct {
	Name string `json:"name" in:"path" kind:"name" doc:"Name."`
	common
	Text     string            `json:"text" doc:"Text." max:"10" alias:"old_text"`
	Choice   string            `json:"choice" doc:"Choice." enum:"a|b" default:"a"`
	AltNames string            `json:"alt_names" doc:"Names." kind:"csv"`
	Flag     bool              `json:"flag" doc:"Flag." default:"true"`
	Maybe    *bool             `json:"maybe" doc:"Maybe."`
	Bits     int               `json:"bits" doc:"Bits." min:"0" max:"4096"`
	Big      int64             `json:"big" doc:"Big."`
	TTL      int64             `json:"ttl" doc:"Validity." kind:"duration" default:"30s"`
	Expiry   string            `json:"expiry" doc:"Expiry." kind:"duration-string" default:"72h"`
	Usage    []string          `json:"usage" doc:"Usage." default:"x,y"`
	Metadata map[string]string `json:"metadata" doc:"Metadata." items:"2"`
	PIN      string            `json:"pin" doc:"PIN." kind:"secret"`
	Batch    []inner           `json:"batch" doc:"Batch." items:"2"`
	One      inner             `json:"one" doc:"One."`
}

func defaults() sample {
	return sample{Choice: "a", Flag: true, TTL: 30, Expiry: "72h", Usage: []string{"x", "y"}}
}

// decode decodes JSON text as both Vault (json.Number) and a plugin (float64) do,
// and insists that they agree.
func decode(t *testing.T, text string) (sample, schema.Given, error) {
	t.Helper()
	var floats map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &floats))
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var numbers map[string]any
	require.NoError(t, decoder.Decode(&numbers))

	value, given, err := schema.Decode[sample](floats)
	other, _, otherErr := schema.Decode[sample](numbers)
	require.Equal(t, err == nil, otherErr == nil, "float64: %v, json.Number: %v", err, otherErr)
	if err == nil {
		require.Empty(t, cmp.Diff(value, other, cmp.AllowUnexported(sample{})))
	}
	return value, given, err
}

func TestDecodeAcceptsWhatClientsSend(t *testing.T) {
	yes := true
	for text, want := range map[string]func(*sample){
		`{}`:                                   func(*sample) {},
		`{"text": "t"}`:                        func(s *sample) { s.Text = "t" },
		`{"old_text": "t"}`:                    func(s *sample) { s.Text = "t" },
		`{"choice": "b"}`:                      func(s *sample) { s.Choice = "b" },
		`{"alt_names": "a.b,c.d"}`:             func(s *sample) { s.AltNames = "a.b,c.d" },
		`{"alt_names": ["a.b", "c.d"]}`:        func(s *sample) { s.AltNames = "a.b,c.d" },
		`{"flag": false}`:                      func(s *sample) { s.Flag = false },
		`{"flag": "false"}`:                    func(s *sample) { s.Flag = false },
		`{"maybe": "true"}`:                    func(s *sample) { s.Maybe = &yes },
		`{"expiry": ""}`:                       func(*sample) {},
		`{"usage": [""]}`:                      func(s *sample) { s.Usage = []string{} },
		`{"usage": ["a", "", "b"]}`:            func(s *sample) { s.Usage = []string{"a", "b"} },
		`{"usage": "[{\"a\": 1},{\"b\": 2}]"}`: func(s *sample) { s.Usage = []string{`{"a": 1}`, `{"b": 2}`} },
		`{"bits": 2048}`:                       func(s *sample) { s.Bits = 2048 },
		`{"bits": "2048"}`:                     func(s *sample) { s.Bits = 2048 },
		`{"big": 9007199254740992}`:            func(s *sample) { s.Big = 1 << 53 },
		`{"big": "9223372036854775807"}`:       func(s *sample) { s.Big = math.MaxInt64 },
		`{"ttl": 3600}`:                        func(s *sample) { s.TTL = 3600 },
		`{"ttl": "3600"}`:                      func(s *sample) { s.TTL = 3600 },
		`{"ttl": "720h"}`:                      func(s *sample) { s.TTL = 720 * 3600 },
		`{"ttl": "2160h0m0s"}`:                 func(s *sample) { s.TTL = 2160 * 3600 },
		`{"ttl": "30d"}`:                       func(s *sample) { s.TTL = 30 * 86400 },
		`{"ttl": ""}`:                          func(s *sample) { s.TTL = 0 },
		`{"expiry": "96h"}`:                    func(s *sample) { s.Expiry = "96h" },
		`{"expiry": 3600}`:                     func(s *sample) { s.Expiry = "3600" },
		`{"usage": []}`:                        func(s *sample) { s.Usage = []string{} },
		`{"usage": ""}`:                        func(s *sample) { s.Usage = []string{} },
		`{"usage": "a, b,"}`:                   func(s *sample) { s.Usage = []string{"a", "b"} },
		`{"usage": ["a,b", "c"]}`:              func(s *sample) { s.Usage = []string{"a,b", "c"} },
		`{"usage": "[\"a,b\", \"c\"]"}`:        func(s *sample) { s.Usage = []string{"a,b", "c"} },
		`{"usage": "{\"oid\": 1, \"a\": 2}"}`:  func(s *sample) { s.Usage = []string{`{"oid": 1, "a": 2}`} },
		`{"usage": "[a, b"}`:                   func(s *sample) { s.Usage = []string{"[a", "b"} },
		`{"allowed_domains": "e.com"}`:         func(s *sample) { s.AllowedDomains = []string{"e.com"} },
		`{"metadata": {"k": "v"}}`:             func(s *sample) { s.Metadata = map[string]string{"k": "v"} },
		`{"metadata": "k=v=w"}`:                func(s *sample) { s.Metadata = map[string]string{"k": "v=w"} },
		`{"metadata": ["k=v", "l="]}`:          func(s *sample) { s.Metadata = map[string]string{"k": "v", "l": ""} },
		`{"batch": [{"csr": "x"}, {}]}`:        func(s *sample) { s.Batch = []inner{{CSR: "x"}, {}} },
		`{"one": {"csr": "x", "ttl": "1h"}}`:   func(s *sample) { s.One = inner{CSR: "x", TTL: 3600} },
	} {
		t.Run(text, func(t *testing.T) {
			value, _, err := decode(t, text)
			require.NoError(t, err)
			expected := defaults()
			want(&expected)
			require.Empty(t, cmp.Diff(expected, value, cmp.AllowUnexported(sample{})))
		})
	}
}

func TestDecodeRefusesByName(t *testing.T) {
	for text, message := range map[string]string{
		`{"text": 1}`:                           "text: must be a string, not a number",
		`{"text": ["a"]}`:                       "text: must be a string, not a list",
		`{"text": "12345678901"}`:               "text: has 11 bytes, more than the 10 allowed",
		`{"old_text": "a", "text": "b"}`:        "text: was given twice, the second time as old_text",
		`{"choice": "c"}`:                       "choice: must be a or b",
		`{"flag": 1}`:                           "flag: must be true or false, not a number",
		`{"flag": "maybe"}`:                     "flag: must be true or false",
		`{"bits": 1.5}`:                         "bits: must be a whole number",
		`{"bits": -1}`:                          "bits: must be at least 0",
		`{"bits": 5000}`:                        "bits: must be at most 4096",
		`{"bits": true}`:                        "bits: must be a whole number, not a boolean",
		`{"bits": "x"}`:                         "bits: must be a whole number",
		`{"big": 1e300}`:                        "big: must be a whole number",
		`{"ttl": "1500ms"}`:                     "ttl: must be whole seconds",
		`{"ttl": -1}`:                           "ttl: must be at least 0 seconds",
		`{"ttl": "fast"}`:                       "ttl: must be a duration",
		`{"ttl": {}}`:                           "ttl: must be a duration such as \"720h\" or a number of seconds, not an object",
		`{"ttl": "99999999999999"}`:             "ttl: must be a duration",
		`{"ttl": 99999999999999}`:               "ttl: must be ",
		`{"expiry": "x"}`:                       "expiry: must be a duration",
		`{"usage": [1]}`:                        "usage: must be a list of strings; it holds a number",
		`{"usage": {"a": "b"}}`:                 "usage: must be a list of strings, not an object",
		`{"allowed_domains": "a,b,c,d"}`:        "allowed_domains: has more than the 3 elements allowed",
		`{"allowed_domains": ["a","b","c",""]}`: "allowed_domains: has more than the 3 elements allowed",
		`{"allowed_domains": ["abcdefghijklmnopqrstuvwxyz"]}`: "allowed_domains: has 26 bytes",
		`{"metadata": {"a": 1}}`:                              "metadata: must be a map of strings; it holds a number",
		`{"metadata": "kv"}`:                                  "metadata: must be a map of strings, or key=value",
		`{"metadata": {"a":"","b":"","c":""}}`:                "metadata: has more than the 2 elements allowed",
		`{"batch": {}}`:                                       "batch: must be a list of objects, not an object",
		`{"batch": [{}, {}, {}]}`:                             "batch: has more than the 2 elements allowed",
		`{"batch": [{}, {"csrr": "x"}]}`:                      "batch[1].csrr: is not a known field; did you mean csr?",
		`{"batch": [null]}`:                                   "batch[0]: must be an object",
		`{"one": "x"}`:                                        "one: must be an object, not a string",
		`{"allowed_domain": "e.com"}`:                         "allowed_domain: is not a known field; did you mean allowed_domains?",
		`{"ad": "e.com"}`:                                     "ad: is not a known field; did you mean allowed_domains?",
		`{"domains": "e.com"}`:                                "domains: is not a known field; did you mean allowed_domains?",
		`{"ttl": "10 y"}`:                                     "ttl: must be a duration such as \"720h\", \"30d\" or \"10y\"",
		`{"ttl": "-1y"}`:                                      "ttl: must be at least 0 seconds",
		`{"ttl": "300y"}`:                                     "ttl: must be a duration",
		`{"nonsense_here": 1}`:                                "nonsense_here: is not a known field",
		`{"name": "x"}`:                                       "name: is part of the path",
	} {
		t.Run(text, func(t *testing.T) {
			_, _, err := decode(t, text)
			require.ErrorContains(t, err, message)
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
		})
	}
}

func TestNull1_NullIsNotGiven(t *testing.T) {
	fields := schema.Fields[sample]()
	require.NotEmpty(t, fields)
	without, _, err := schema.Decode[sample](nil)
	require.NoError(t, err)
	for name := range fields {
		value, given, err := schema.Decode[sample](map[string]any{name: nil})
		require.NoError(t, err, name)
		require.Empty(t, cmp.Diff(without, value, cmp.AllowUnexported(sample{})), name)
		require.Empty(t, given.Names(), name)
	}
	value, _, err := decode(t, `{"batch": [{"csr": null}]}`)
	require.NoError(t, err)
	require.Len(t, value.Batch, 1)
}

func TestKey2_RefusalsDoNotRepeatValues(t *testing.T) {
	const secret = "s3cret-value"
	wrong := []any{secret, []any{secret, 1.0}, map[string]any{secret: secret, "x": []any{secret}}, 1.5, true}
	seen := 0
	for name := range schema.Fields[sample]() {
		for _, value := range wrong {
			if _, _, err := schema.Decode[sample](map[string]any{name: value}); err != nil && name != "batch" && name != "one" {
				require.NotContains(t, err.Error(), secret, name)
				seen++
			}
		}
	}
	require.Greater(t, seen, 30)
}

func TestDefaultsAreNotShared(t *testing.T) {
	first, _, err := schema.Decode[sample](nil)
	require.NoError(t, err)
	first.Usage[0] = "changed"
	second, _, err := schema.Decode[sample](nil)
	require.NoError(t, err)
	require.Equal(t, []string{"x", "y"}, second.Usage)
}

func TestMergeChangesOnlyWhatWasGiven(t *testing.T) {
	old := defaults()
	old.Text, old.Bits, old.AllowedDomains = "kept", 7, []string{"kept"}
	in, given, err := schema.Decode[sample](map[string]any{"bits": 0.0, "choice": "b", "allowed_domains": []any{}})
	require.NoError(t, err)
	merged := old
	require.NoError(t, schema.Change(in, given)(&merged))
	want := old
	want.Bits, want.Choice, want.AllowedDomains = 0, "b", []string{}
	require.Empty(t, cmp.Diff(want, merged, cmp.AllowUnexported(sample{})))
	require.Equal(t, []string{"allowed_domains", "choice", "bits"}, given.Names())
	require.True(t, given.Has("bits"))
	require.False(t, given.Has("text"))
	require.False(t, given.Has("unknown"))
}

func TestMergeOfAnEmbeddedPart(t *testing.T) {
	in, given, err := schema.Decode[sample](map[string]any{"allowed_domains": "e.com", "text": "t"})
	require.NoError(t, err)
	var merged common
	require.NoError(t, schema.Change(in.common, given)(&merged))
	require.Equal(t, common{AllowedDomains: []string{"e.com"}}, merged)
}

func TestEncodeReadsBackWhatWasWritten(t *testing.T) {
	value, _, err := schema.Decode[sample](map[string]any{
		"text": "t", "ttl": "720h", "usage": "a,b", "metadata": "k=v", "pin": "1234", "batch": []any{map[string]any{"csr": "x"}},
	})
	require.NoError(t, err)
	data := schema.Encode(value)
	require.NotContains(t, data, "pin", "secrets are write-only")
	require.NotContains(t, data, "maybe", "a nil pointer is absent")
	require.Equal(t, int64(720*3600), data["ttl"])
	require.Equal(t, []string{}, data["allowed_domains"], "an empty list is a list")
	delete(data, "name")
	encoded, err := json.Marshal(data)
	require.NoError(t, err)
	again, _, err := decode(t, string(encoded))
	require.NoError(t, err)
	value.PIN, value.AllowedDomains = "", []string{}
	require.Empty(t, cmp.Diff(value, again, cmp.AllowUnexported(sample{})))
}

func TestAuthz2_NamesHaveOneSpelling(t *testing.T) {
	for _, name := range []string{"web", "Web", "a", "_a_", "web-1.internal", "9"} {
		require.NoError(t, schema.CheckName("name", name), name)
	}
	for _, name := range []string{"", ".", "..", "a..b", ".a", "a.", "-a", "a-", "a/b", "a b", "%2e%2e", "ü", "a\n", "a\x00", strings.Repeat("a", 129)} {
		require.Error(t, schema.CheckName("name", name), "%q", name)
	}
	require.NoError(t, schema.CheckDistinct("name", "web", []string{"api", "web"}))
	require.NoError(t, schema.CheckDistinct("name", "new", []string{"api", "web"}))
	require.True(t, fault.Is(schema.CheckDistinct("name", "Web", []string{"api", "web"}), fault.Conflict))
}

func TestPageWindow(t *testing.T) {
	names := []string{"a", "b", "d", "e"}
	require.Equal(t, names, schema.Page{}.Window(names))
	require.Equal(t, []string{"d", "e"}, schema.Page{After: "b"}.Window(names))
	require.Equal(t, []string{"d"}, schema.Page{After: "c", Limit: 1}.Window(names))
	require.Empty(t, schema.Page{After: "e"}.Window(names))
}

func TestFieldsDocumentTheRules(t *testing.T) {
	fields := schema.Fields[sample]()
	require.Equal(t, "Choice. One of a or b. Default: a.", fields["choice"].Description)
	require.True(t, fields["old_text"].Deprecated)
	require.True(t, fields["pin"].DisplayAttrs.Sensitive)
	for name, field := range fields {
		require.NotEmpty(t, field.Description, name)
	}
	answer := schema.Response[sample]()[200][0].Fields
	require.NotContains(t, answer, "pin")
	require.Contains(t, answer, "ttl")
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"text":"a","usage":"a,b","ttl":"1h","metadata":{"a":"b"},"batch":[{"csr":"x"}]}`)
	f.Add(`{"bits":1e400,"big":-0.0,"one":{"ttl":[]},"flag":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		var data map[string]any
		if json.Unmarshal([]byte(text), &data) != nil {
			return
		}
		value, given, err := schema.Decode[sample](data)
		if err != nil {
			require.Contains(t, []fault.Kind{fault.Invalid, fault.TooLarge}, fault.KindOf(err))
			return
		}
		for name := range data {
			require.True(t, given.Has(name), "%s was accepted and not taken", name)
		}
		encoded := schema.Encode(value)
		require.False(t, slices.Contains(given.Names(), "name"))
		require.NotNil(t, encoded)
	})
}

func TestDurationsWithFractions(t *testing.T) {
	type fine struct {
		Pause string `json:"pause" kind:"duration-fine" default:"0s" max:"60" doc:"Pause."`
	}
	for text, want := range map[string]string{
		`{}`: "0s", `{"pause": "250ms"}`: "250ms", `{"pause": 3}`: "3", `{"pause": "1m"}`: "1m", `{"pause": ""}`: "0s",
	} {
		var data map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&data))
		value, _, err := schema.Decode[fine](data)
		require.NoError(t, err, text)
		require.Equal(t, want, value.Pause, text)
	}
	for _, raw := range []any{"-1ms", "2m", "soon", 1.5, -1.0, true} {
		_, _, err := schema.Decode[fine](map[string]any{"pause": raw})
		require.True(t, fault.Is(err, fault.Invalid), "%v", raw)
	}
}
