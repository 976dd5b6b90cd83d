// Reads an AsyncAPI document, in JSON on stdin, with AsyncAPI's own parser, and prints its complaints and its messages.
import { text } from 'node:stream/consumers';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(await text(process.stdin));
console.log(JSON.stringify({
  // That 3.1 exists is no fault of a 3.0 document.
  complaints: diagnostics.filter((d) => d.code !== 'asyncapi-latest-version').map((d) => `${d.path.join('.')}: ${d.message}`),
  messages: document?.allMessages().all().map((m) => m.name()) ?? [],
}));
