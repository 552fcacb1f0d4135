// A conversation as a tree: every message names the one it follows. An edited question or an answer written anew is a
// further child of the same parent, so that nothing is lost; what is seen is the way from the root to one leaf.

/** The messages from the first to the leaf. */
export function pathTo(messages, leaf) {
  const path = [];
  const seen = new Set();
  for (let message = messages.get(leaf); message && !seen.has(message.id); message = messages.get(message.parent)) {
    seen.add(message.id);
    path.push(message);
  }
  return path.reverse();
}

/** The messages by the one that they follow, null for those that follow none; the oldest first. */
export function families(messages) {
  const all = new Map();
  for (const message of messages.values()) {
    const parent = message.parent ?? null;
    if (!all.has(parent)) all.set(parent, []);
    all.get(parent).push(message);
  }
  for (const children of all.values()) children.sort((a, b) => a.at - b.at);
  return all;
}

/** The leaf below a message that was written last. */
export function leafBelow(messages, id) {
  const all = families(messages);
  const seen = new Set();
  for (;;) {
    seen.add(id);
    const next = all.get(id)?.at(-1);
    if (!next || seen.has(next.id)) return id;
    id = next.id;
  }
}

/** A time for a new message that is later than all the others'. */
export function nextTime(messages) {
  let latest = 0;
  for (const message of messages.values()) latest = Math.max(latest, message.at);
  return Math.max(Date.now(), latest + 1);
}

/** The beginning of the first question, as a title. */
export function titleOf(text) {
  const line = text.trim().split('\n', 1)[0].replace(/\s+/g, ' ');
  if (line.length <= 48) return line;
  const cut = line.slice(0, 48);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), 24))}…`;
}
