// Messages for vehicles as the server will publish them, byte for byte, and how many bytes that is.

const encoder = new TextEncoder();

/** Bytes of a text in UTF-8. */
export const utf8 = (text) => encoder.encode(text).length;

/** Without JSON's white space around it. */
const trimmed = (json) => json.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');

/** The envelope of data for an app; `content` is JSON and keeps every byte. */
export const data = (app, content) =>
  `{"idApp":${JSON.stringify(app)},"popup":false,"content":${trimmed(content)}}`;

/** The envelope of a popup; `content` may be empty. */
export function popup(app, text, button, content) {
  const rest = trimmed(content) && `,"content":${trimmed(content)}`;
  return `{"idApp":${JSON.stringify(app)},"popup":true,"popupBtn":${button},"popupText":${JSON.stringify(text)}${rest}}`;
}

/** Bytes of a popup's text, as they are limited: as JSON, without the quotes. */
export const popupTextBytes = (text) => utf8(JSON.stringify(text)) - 2;

/** What is wrong with a content, in a sentence; empty if nothing is. */
export function fault(content) {
  if (!trimmed(content)) return 'a message for an app needs a content, such as {"hello": "car"}';
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

/** A message from a vehicle without its content, how that begins, and how many characters it has. */
export function head(message, excerptLength) {
  const at = message.indexOf(CONTENT);
  const members = JSON.parse(`${message.slice(0, at)}}`);
  const begin = at + CONTENT.length;
  const end = message.length - 1;
  return { ...members, excerpt: message.slice(begin, Math.min(begin + excerptLength, end)), length: end - begin };
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
