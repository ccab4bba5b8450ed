// A question to a server of `medembed serve`, which has to let this page in with --allow-origin.

// An address in a link counts for this machine alone: a link must not send what is typed to somebody else's server.
const OWN = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\/?$/;

export function serverOf(search) {
  const named = new URLSearchParams(search).get("server") ?? "";
  return OWN.test(named) ? named : "";
}

export async function askServer(address, key, query, k) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  let got;
  try {
    got = await fetch(`${address.replace(/\/$/, "")}/v1/search`, { method: "POST", headers, body: JSON.stringify({ query, k }) });
  } catch {
    throw new Error(`${address} did not answer this page. Start it with: medembed serve --corpus notes --allow-origin ${location.origin}`);
  }
  const told = await got.json();
  if (!got.ok) throw new Error(`${address}: ${told.message}`);
  return told.results[0].hits.map(({ id, score, text, source }) => ({ score, title: id, text: text ?? "", source }));
}
