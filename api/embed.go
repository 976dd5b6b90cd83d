package api

import _ "embed"

// OpenAPI is the specification of the REST interface, OpenAPI 3.1 in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI is the specification of the WebSocket interface, AsyncAPI 3 in YAML.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
