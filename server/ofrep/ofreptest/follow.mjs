// Usage: node follow.mjs http://127.0.0.1:8016 FLAG USER
//
// Asks for all flags through the official web SDK and OFREP provider, without polling, and
// prints the value of one each time it changes, as a line of JSON, until its input ends. What it
// prints after the first line it was told of by the server's event stream.
import { EventSource } from 'eventsource';
import { OpenFeature } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

globalThis.EventSource = EventSource; // which browsers have

const [baseUrl, flag, user] = process.argv.slice(2);
const provider = new OFREPWebProvider({ baseUrl, cacheMode: 'disabled', pollInterval: 0 });
await OpenFeature.setProviderAndWait(provider, { targetingKey: user });
const client = OpenFeature.getClient();

let last;
const look = () => {
  const value = client.getStringValue(flag, 'code default');
  if (value !== last) console.log(JSON.stringify((last = value)));
};
look();
const timer = setInterval(look, 10); // a provider that reconnects tells of no change

process.stdin.resume();
process.stdin.on('end', async () => {
  clearInterval(timer);
  await OpenFeature.close();
});
