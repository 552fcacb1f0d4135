// From a conversation and its settings to the body of a request.

/** Settings of the sampler and their limits: the name here is the field of the request. */
export const SAMPLING = [
  { field: 'temperature', label: 'temperature', min: 0, max: 2 },
  { field: 'top_k', label: 'topK', min: 0, max: 100_000, isWhole: true },
  { field: 'top_p', label: 'topP', min: 0.01, max: 1 },
  { field: 'min_p', label: 'minP', min: 0, max: 1 },
  { field: 'presence_penalty', label: 'presencePenalty', min: -2, max: 2 },
  { field: 'frequency_penalty', label: 'frequencyPenalty', min: -2, max: 2 },
  { field: 'repeat_penalty', label: 'repeatPenalty', min: 0.1, max: 10 },
  { field: 'max_tokens', label: 'maxTokens', min: 1, max: 1_000_000, isWhole: true },
  { field: 'seed', label: 'seed', min: 0, max: 2 ** 53 - 1, isWhole: true },
];

/** The functions in the text of a setting: null where there are none, an error where it says nothing of the kind. */
export function toolsOf(text) {
  if (!text?.trim()) return null;
  const tools = JSON.parse(text);
  const isTool = (tool) => tool !== null && typeof tool === 'object' && !Array.isArray(tool);
  if (!Array.isArray(tools) || !tools.every(isTool)) throw new TypeError('no list of functions');
  return tools.length > 0 ? tools : null;
}

async function contentOf(message, pictureOf) {
  const urls = (await Promise.all((message.pictures ?? []).map(({ id }) => pictureOf(id)))).filter(Boolean);
  if (urls.length === 0) return message.text;
  const parts = urls.map((url) => ({ type: 'image_url', image_url: { url } }));
  return message.text ? [...parts, { type: 'text', text: message.text }] : parts;
}

/** A message as the API has it. `pictureOf` gives the data URL of a picture. */
async function messageOf(message, pictureOf) {
  if (message.role === 'tool') return { role: 'tool', tool_call_id: message.call, content: message.text };
  if (message.role === 'user') return { role: 'user', content: await contentOf(message, pictureOf) };
  const turn = { role: 'assistant', content: message.text };
  if (message.thinking) turn.reasoning_content = message.thinking;
  if (message.calls?.length) {
    turn.tool_calls = message.calls.map(({ id, name, arguments: given }) =>
      ({ id, type: 'function', function: { name, arguments: given } }));
  }
  return turn;
}

/**
 * The body of a request for the answer to `path`. Where its last message is one of the model, the answer goes on with it.
 */
export async function bodyOf({ path, chat, settings, model, pictureOf }) {
  const system = chat.system?.trim() ? [{ role: 'system', content: chat.system }] : [];
  const messages = await Promise.all(path.map((message) => messageOf(message, pictureOf)));
  const body = {
    model,
    messages: [...system, ...messages],
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
  };
  for (const { field } of SAMPLING) {
    if (settings[field] !== undefined && settings[field] !== null) body[field] = settings[field];
  }
  const goesOn = path.at(-1)?.role === 'assistant';
  if (!goesOn && settings.thinking !== undefined) body.chat_template_kwargs = { enable_thinking: settings.thinking };
  const tools = toolsOf(chat.tools);
  if (tools) body.tools = tools;
  return body;
}
