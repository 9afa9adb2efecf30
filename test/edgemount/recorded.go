package edgemount

import _ "embed" // of what was recorded

// FirstRelease is what a mount of the first release that edges could follow answered at
// edge/manifest and edge/status/-, as JSON with the members manifest and status. Edges
// of that release follow the mounts of today.
//
//go:embed testdata/first-release.json
var FirstRelease []byte
