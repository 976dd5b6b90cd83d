package api

import (
	_ "embed"
	"sync"

	"github.com/oasdiff/yaml"
)

// OpenAPI is the specification of the REST interface, OpenAPI 3.1 in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI is the specification of the WebSocket interface, AsyncAPI 3 in YAML.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte

// OpenAPIJSON and AsyncAPIJSON are the specifications in JSON, converted at first use. The result is shared: it is not to
// be changed.
var (
	OpenAPIJSON  = sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON(OpenAPI) })
	AsyncAPIJSON = sync.OnceValues(func() ([]byte, error) { return yaml.YAMLToJSON(AsyncAPI) })
)
