// Usage: node client.mjs CLIENT '{"http": "host:port", "grpc": "host:port", "sync": "host:port"}'
//
// One of the official providers, with the settings that the guides in docs/clients give it.
// It connects, waits for nothing, and answers each line of its input, which is JSON, with one:
//
//   {"type", "flag", "fallback", "context"}  what the SDK says: {"value", "variant", "reason", "errorCode"}
//   {"events": true}                         the events since the last time: [{"event", "flags"}]
//   {"track": name, "context"}               {"sent": whether the provider has a method for it}
//
// and ends with its input.
import { createInterface } from 'node:readline';

const [name, text] = process.argv.slice(2);
const at = JSON.parse(text);
const hostPort = (addr) => ({ host: addr.split(':')[0], port: Number(addr.split(':')[1]) });
const soon = { retryBackoffMs: 100, retryBackoffMaxMs: 1000 };
const flagd = async (settings) => new (await import('@openfeature/flagd-provider')).FlagdProvider({ ...settings, ...soon });
const provider = await {
  'flagd-rpc': () => flagd(hostPort(at.grpc)),
  'flagd-in-process': () => flagd({ resolverType: 'in-process', ...hostPort(at.sync) }),
  ofrep: async () => new (await import('@openfeature/ofrep-provider')).OFREPProvider({ baseUrl: `http://${at.http}` }),
  'flagd-web': async () => new (await import('@openfeature/flagd-web-provider')).FlagdWebProvider({ ...hostPort(at.grpc), tls: false }),
  'ofrep-web': async () => new (await import('@openfeature/ofrep-web-provider')).OFREPWebProvider({ baseUrl: `http://${at.http}` }),
}[name]();
const page = name.endsWith('-web');
const { OpenFeature, ProviderEvents } = page ? await import('@openfeature/web-sdk') : await import('@openfeature/server-sdk');

// A page knows whom it is about before it asks; its context is set, and not said with each question.
let context = '{}';
async function about(wanted) {
  if (!page || JSON.stringify(wanted) === context) return;
  context = JSON.stringify(wanted);
  await OpenFeature.setContext(wanted);
}

const client = OpenFeature.getClient();
let events = [];
for (const event of Object.values(ProviderEvents)) {
  client.addHandler(event, (details) => events.push({ event, flags: details?.flagsChanged ?? [] }));
}

// Some providers leave a failure to whoever runs the page, who is to see it and go on.
process.on('unhandledRejection', (why) => console.error(`nobody has caught: ${why}`));

async function answer(q) {
  if (q.events) {
    const since = events;
    events = [];
    return since;
  }
  await about(q.context ?? {});
  if (q.track) {
    const details = { value: 3, plan: 'pro' };
    if (page) client.track(q.track, details);
    else client.track(q.track, q.context, details);
    return { sent: typeof provider.track === 'function' };
  }
  const method = { boolean: 'getBooleanDetails', string: 'getStringDetails', number: 'getNumberDetails', object: 'getObjectDetails' }[q.type];
  const d = await client[method](q.flag, q.fallback, q.context);
  return { value: d.value, variant: d.variant ?? '', reason: d.reason, errorCode: d.errorCode ?? '' };
}

OpenFeature.setProvider(provider);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await OpenFeature.close();
process.exit(0); // a provider may leave a timer behind
