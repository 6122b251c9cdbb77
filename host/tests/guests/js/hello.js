// A guest in JavaScript: returns 200 and a text on any path. `/fetch?url=URL` fetches
// another service and returns its body, and its status in `x-upstream-status`, or 502 and
// the reason if that fails. With `&post=N` it sends N bytes by POST.
//
// It needs a new instance for every request.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname === '/fetch') {
    const post = url.searchParams.get('post');
    const options = post === null ? {} : { method: 'POST', body: 'x'.repeat(Number(post)) };
    return passOn(url.searchParams.get('url'), options);
  }
  return new Response('hello from JavaScript\n', { headers: { 'content-type': 'text/plain' } });
}

async function passOn(url, options) {
  try {
    const upstream = await fetch(url, options);
    const headers = { 'x-upstream-status': String(upstream.status) };
    return new Response(await upstream.text(), { headers });
  } catch (problem) {
    return new Response(`${problem}\n`, { status: 502 });
  }
}
