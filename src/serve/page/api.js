// Talking to the server: requests with the key, errors by kind, and the events of a stream.

const KEY = 'qwen-edge key';

/** The server says that it lives every 10 seconds; after so many without a byte it does not. */
const SILENCE_MS = 45_000;

let key = sessionStorage.getItem(KEY) ?? '';

/** Takes another key, for as long as this tab is open. */
export function useKey(text) {
  key = text;
  sessionStorage.setItem(KEY, text);
}

/** Whether a key was given. */
export const hasKey = () => key !== '';

/**
 * Why a request failed. `kind` is `key`, `loading`, `busy`, `length`, `refused`, or, without a word from the server,
 * `unreachable` or `broken`.
 */
export class Fault extends Error {
  constructor(kind, message = '', more = {}) {
    super(message);
    Object.assign(this, { kind, ...more });
  }
}

function faultOf(status, error, retryAfter) {
  const message = String(error?.message ?? `status ${status}`);
  if (status === 401) return new Fault('key', message);
  if (status === 503) return new Fault('loading', message);
  if (status === 429) return new Fault('busy', message, { retryAfter });
  if (error?.code === 'context_length_exceeded') {
    return new Fault('length', message, { prompt: error.n_prompt_tokens, most: error.n_ctx });
  }
  return new Fault('refused', message);
}

async function ask(path, { body, signal } = {}) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers['content-type'] = 'application/json';
  const method = body ? 'POST' : 'GET';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, cache: 'no-store' });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Fault('unreachable');
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw faultOf(response.status, said?.error, Number(response.headers.get('retry-after')));
}

/** What a path answers, as JSON. */
export async function getJson(path) {
  return (await ask(path)).json();
}

/** What a path answers, or null where there is no such path. */
export async function getJsonIfThere(path) {
  try {
    return await getJson(path);
  } catch (fault) {
    if (fault.kind === 'refused') return null;
    throw fault;
  }
}

/** Reads with a limit to the silence. */
function readPatiently(reader) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Fault('broken')), SILENCE_MS);
  });
  return Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
}

/**
 * The chunks of a streamed chat completion. Returns when the answer is complete; throws a `Fault` where it breaks off,
 * and what `signal` throws when that is aborted.
 */
export async function* streamChat(body, signal) {
  const response = await ask('v1/chat/completions', { body, signal });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await readPatiently(reader);
      if (done) throw new Fault('broken');
      rest += decoder.decode(value, { stream: true });
      const events = rest.split(/\r?\n\r?\n/);
      rest = events.pop();
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:'))
          .map((line) => line.slice(5).trimStart()).join('\n');
        if (data === '[DONE]') return;
        if (data === '') continue;
        const chunk = JSON.parse(data);
        if (chunk.error) throw faultOf(0, chunk.error);
        yield chunk;
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof Fault) throw error;
    throw new Fault('broken');
  } finally {
    reader.cancel().catch(() => {});
  }
}
