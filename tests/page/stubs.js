// For tests of the page: answers that are written as a test wants them, in place of the server's.
//
// `stubs.next = {pieces: [...], keep: bool, fail: bool}` is what the next chat completion says: chunks of JSON. With `keep`, the
// stream stays open until `stubs.push(chunk)` and `stubs.end()`; with `fail` it breaks off at the end.

window.stubs = { next: null, asked: [] };
const fetched = window.fetch;
window.fetch = (path, options) => {
  const { next } = window.stubs;
  if (!String(path).includes('chat/completions')) return fetched(path, options);
  window.stubs.asked.push(JSON.parse(options.body));
  if (!next) return fetched(path, options);
  window.stubs.next = null;
  const bytes = (text) => new TextEncoder().encode(text);
  const body = new ReadableStream({
    start(controller) {
      const push = (chunk) => controller.enqueue(bytes(`data: ${JSON.stringify(chunk)}\n\n`));
      const end = () => {
        if (next.fail) return controller.error(new TypeError('network error'));
        controller.enqueue(bytes('data: [DONE]\n\n'));
        return controller.close();
      };
      Object.assign(window.stubs, { push, end });
      options.signal.addEventListener('abort', () => controller.error(options.signal.reason));
      next.pieces.forEach(push);
      // What has come is read before the stream breaks off.
      if (next.fail) setTimeout(end, 500);
      else if (!next.keep) end();
    },
  });
  return Promise.resolve(new Response(body, { status: 200, headers: { 'content-type': 'text/event-stream' } }));
};
