// Converts an OpenAPI document, in JSON on stdin, as Insomnia does on import, and prints the requests it makes of it.
// insomnia-importers is that part of the application as it was last published by itself; package.json gives it the
// parser that the application has today, which reads OpenAPI 3.1.
import { text } from 'node:stream/consumers';
import insomnia from 'insomnia-importers';

console.log = console.error; // where the importer tells why it falls back to an unresolved document
const { type, data, convertErrorMessage } = await insomnia.convert(await text(process.stdin));
if (type?.id !== 'openapi3') throw new Error(`taken for ${type?.id}: ${convertErrorMessage}`);
const { scheme, host, base_path: path } = data.resources.find((r) => r.data?.scheme).data;

process.stdout.write(JSON.stringify({
  base: host ? `${scheme}://${host}${path}` : path || '/',
  requests: data.resources.filter((r) => r._type === 'request').map((request) => ({
    method: request.method,
    url: request.url.replace('{{ base_url }}', '').replaceAll(/{{ (\w+) }}/g, '{$1}'),
    query: request.parameters.map((p) => p.name),
    headers: [
      ...request.headers.map((h) => h.name),
      ...(request.authentication.type === 'bearer' ? ['Authorization'] : []),
      ...(request.body.mimeType ? ['Content-Type'] : []), // sent with the body
    ],
    body: request.body.text ?? '',
  })),
}));
