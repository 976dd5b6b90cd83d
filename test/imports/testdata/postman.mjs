// Converts an OpenAPI document, in JSON on stdin, as Postman does on import, and prints the requests it makes of it. The
// argument is the dialog's choice of where values come from, Schema (its default) or Example.
import { text } from 'node:stream/consumers';
import converter from 'openapi-to-postmanv2';

const source = { type: 'string', data: await text(process.stdin) };
const converted = await new Promise((resolve, reject) => {
  converter.convertV2(source, { parametersResolution: process.argv[2] }, (error, answer) => error ? reject(error) : resolve(answer));
});
if (!converted.result) throw new Error(converted.reason);
const collection = converted.output[0].data;
const base = collection.variable.find((v) => v.key === 'baseUrl').value;

const leaves = (items) => items.flatMap((item) => item.item ? leaves(item.item) : [item.request]);
const authHeaders = (auth) => {
  switch (auth?.type) {
    case 'bearer': return ['Authorization'];
    case 'apikey': return [auth.apikey.find((a) => a.key === 'key').value];
    default: return [];
  }
};

console.log(JSON.stringify({
  base,
  requests: leaves(collection.item).map((request) => ({
    method: request.method,
    url: [...request.url.host, ...request.url.path].join('/').replace('{{baseUrl}}', '').replaceAll(/:(\w+)/g, '{$1}'),
    query: request.url.query.map((q) => q.key),
    headers: [...request.header.map((h) => h.key), ...authHeaders(request.auth ?? collection.auth)],
    body: request.body?.raw ?? '',
  })),
}));
