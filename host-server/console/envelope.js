// Messages for vehicles as they are sent to the server, which alone judges them, and messages from
// vehicles as it tells them. No content is written again: each byte stays as it is.

const encoder = new TextEncoder();

/** Bytes of a text in UTF-8. */
export const utf8 = (text) => encoder.encode(text).length;

/** The text of a message for a vehicle: its members, and a content as it was typed; that may be empty. */
export function message(members, content) {
  const text = JSON.stringify(members);
  return isBlank(content) ? text : `${text.slice(0, -1)},"content":${content}}`;
}

const isBlank = (text) => !text.trim();

/** What is wrong with a content, in a sentence; empty if nothing is. */
export function fault(content) {
  if (isBlank(content)) return 'a message for an app needs a content, such as {"hello": "car"}';
  try {
    JSON.parse(content);
    return '';
  } catch (error) {
    return `the content is not JSON: ${error.message}`;
  }
}

/** Where the content begins in the text of a message from a vehicle. The members before it are the
    server's, and no quote within a text of theirs is without an escape. */
const CONTENT = ',"content":';

/** A message from a vehicle without its content. */
export function head(message) {
  return JSON.parse(`${message.slice(0, message.indexOf(CONTENT))}}`);
}

/** The value of the last member of an object's text, as it is written. */
export function lastMember(object, name) {
  const mark = `"${name}":`;
  const at = object.indexOf(mark);
  return at < 0 ? '' : object.slice(at + mark.length, object.lastIndexOf('}'));
}

/** JSON in lines, each token as it is written: a number keeps its digits, a text its escapes. */
export function indented(json) {
  let out = '';
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g)) {
    if (token === '{' || token === '[') {
      depth += 1;
      out += token + line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      out = /[{[]\s*$/.test(out.slice(-400)) ? out.trimEnd() + token : out + line() + token;
    } else if (token === ',') out += token + line();
    else if (token === ':') out += ': ';
    else out += token;
  }
  return out;
}
