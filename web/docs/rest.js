// The page of the REST interface: Swagger UI over the server's own openapi.json.
'use strict';

// Swagger UI has its dark colours under a class.
const dark = matchMedia('(prefers-color-scheme: dark)');
const paint = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', paint);
paint();

async function show() {
  const answer = await fetch('openapi.json');
  if (!answer.ok) throw new Error(`openapi.json: ${answer.status} ${answer.statusText}`);
  const spec = await answer.json();
  // Calls go where the page came from: to this version, and through the prefix of a proxy.
  spec.servers = [{ url: new URL('.', location.href).href.replace(/\/$/, ''), description: 'This server' }];
  SwaggerUIBundle({
    spec,
    dom_id: '#rest',
    validatorUrl: null, // its badge would ask a host on the internet
    queryConfigEnabled: false, // nobody else's link chooses what is shown here
    persistAuthorization: false, // keys stay in this tab
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    tryItOutEnabled: true,
  });
}

show().catch((failure) => {
  const note = document.createElement('p');
  note.className = 'note failure';
  note.role = 'alert';
  note.textContent = `The specification cannot be shown. ${failure.message}`;
  document.getElementById('rest').replaceChildren(note);
});
