// Usage: node check.mjs http://127.0.0.1:8016 cases.json
//
// Asks a running server every case through the official OpenFeature SDKs and OFREP
// providers, the server's (one flag per request) and the web's (all flags at once, with
// entity tags), prints what differs, and exits with 1 if anything does. A case is
// {story, flag, context, as?, want: {value?, variant, reason, errorCode?, tier?, denied?, upgrade?}};
// without want.value the code default must come back, for each type that is asked for.
import { readFileSync } from 'node:fs';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature as OpenFeatureWeb } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const [baseUrl, file] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(file, 'utf8'));
const headers = Object.entries(JSON.parse(process.env.OFREP_TEST_HEADERS ?? '{}'));

// Two code defaults of each type: an answer that happens to equal one differs from the other.
const fallbacks = {
  boolean: [true, false],
  string: ['code default', 'another code default'],
  number: [-12345, 54321.5],
  object: [{ code: 'default' }, { another: 'code default' }],
};

// Asks a client of either SDK; the web's answers at once, the server's with a promise.
const ask = (client, type, flag, fallback, context) =>
  ({
    boolean: () => client.getBooleanDetails(flag, fallback, context),
    string: () => client.getStringDetails(flag, fallback, context),
    number: () => client.getNumberDetails(flag, fallback, context),
    object: () => client.getObjectDetails(flag, fallback, context),
  })[type]();

const stable = (value) =>
  JSON.stringify(value, (_, v) =>
    v && typeof v === 'object' && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );

const told = (d) => ({
  value: d.value,
  variant: d.variant ?? '',
  reason: d.reason,
  errorCode: d.errorCode ?? '',
  tier: d.flagMetadata?.tier ?? '',
  denied: d.flagMetadata?.denied ?? false,
  upgrade: d.flagMetadata?.upgrade ?? '',
});

let wrong = 0;
const fail = (text) => {
  wrong++;
  console.error(text);
};

async function check(sdk, c, answer, forgive = () => {}) {
  const known = c.want.value !== undefined && c.want.value !== null;
  const types = c.as ? [c.as] : known ? [typeof c.want.value] : Object.keys(fallbacks);
  let asked = 0;
  for (const type of types) {
    for (const fallback of fallbacks[type]) {
      asked++;
      const want = { errorCode: '', tier: '', denied: false, upgrade: '', ...c.want, value: known ? c.want.value : fallback };
      const got = told(await answer(type, fallback));
      forgive(got, want, known);
      if (stable(got) !== stable(want)) {
        fail(`${sdk}: ${c.story}\n  ${type} ${c.flag} for ${stable(c.context)}\n  want ${stable(want)}\n  got  ${stable(got)}`);
      }
    }
  }
  return asked;
}

async function server() {
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
  const client = OpenFeature.getClient();
  // ofrep-provider 0.1.3, the newest on npm, was written before answers could have no
  // value: it hands out the code default, as it should, but calls that an error.
  const forgive = (got, want, known) => {
    if (!known && !want.errorCode && got.errorCode === 'GENERAL') {
      Object.assign(got, { errorCode: '', reason: want.reason });
    }
  };
  let asked = 0;
  for (const c of cases) {
    asked += await check('server', c, (type, fallback) => ask(client, type, c.flag, fallback, c.context ?? {}), forgive);
  }
  await OpenFeature.close();
  return asked;
}

async function web() {
  let notModified = 0;
  const counting = async (...request) => {
    const response = await fetch(...request);
    if (response.status === 304) notModified++;
    return response;
  };
  const byContext = new Map();
  for (const c of cases) {
    if (c.want.errorCode === 'INVALID_CONTEXT') continue; // no answer about any flag
    const context = stable(c.context ?? {});
    byContext.set(context, [...(byContext.get(context) ?? []), c]);
  }
  const provider = new OFREPWebProvider({ baseUrl, headers, cacheMode: 'disabled', pollInterval: 0, fetchImplementation: counting });
  await OpenFeatureWeb.setProviderAndWait(provider, {});
  const client = OpenFeatureWeb.getClient();
  let asked = 0;
  for (const [context, group] of byContext) {
    await OpenFeatureWeb.setContext(JSON.parse(context));
    const before = notModified;
    await OpenFeatureWeb.setContext(JSON.parse(context)); // the same question again
    if (notModified !== before + 1) fail(`web: the second question for ${context} was not answered with 304`);
    for (const c of group) {
      asked += await check('web', c, (type, fallback) => ask(client, type, c.flag, fallback));
    }
  }
  await OpenFeatureWeb.close();
  return asked;
}

const asked = [await server(), await web()];
console.log(`${cases.length} cases; ${asked[0]} questions of the server SDK and ${asked[1]} of the web SDK, ${wrong} wrong answers`);
process.exit(wrong || asked.includes(0) ? 1 : 0);
