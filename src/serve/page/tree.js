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

/** The messages that follow this one, the oldest first; those without a parent for null. */
export function childrenOf(messages, parent) {
  const children = [...messages.values()].filter((message) => (message.parent ?? null) === parent);
  return children.sort((a, b) => a.at - b.at);
}

/** This message and those in its place. */
export const versionsOf = (messages, message) => childrenOf(messages, message.parent ?? null);

/** The leaf below a message that was written last. */
export function leafBelow(messages, id) {
  const seen = new Set();
  for (;;) {
    seen.add(id);
    const next = childrenOf(messages, id).at(-1);
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
