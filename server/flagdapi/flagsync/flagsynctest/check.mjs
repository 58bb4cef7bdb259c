// Usage: node check.mjs HOST PORT cases.json
//
// Follows a running server with the official flagd provider, which decides in process, asks
// every case of the OpenFeature SDK, prints what differs, and exits with 1 if anything does.
// A case is {story, set?, flag, context, want: {value?, variant, reason, errorCode?}}; without
// want.value the code default must come back, for each type that is asked for. With
// FLAGSYNC_TEST_CHANGE the first case's flag must be told of as changed afterwards: a line
// "ready" on standard output asks whoever started us to change it.
import { readFileSync } from 'node:fs';
import { OpenFeature, ProviderEvents } from '@openfeature/server-sdk';
import { FlagdProvider } from '@openfeature/flagd-provider';
import { ask, fallbacks, stable } from '../../../../internal/npmtest/questions.mjs';

const [host, port, file] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(file, 'utf8'));

let wrong = 0;
let asked = 0;

async function check(client, c) {
  const known = c.want.value !== undefined && c.want.value !== null;
  const types = known ? [typeof c.want.value] : Object.keys(fallbacks);
  for (const type of types) {
    for (const fallback of fallbacks[type]) {
      asked++;
      const { variant, reason, errorCode } = c.want;
      const want = { value: known ? c.want.value : fallback, variant, reason, errorCode: errorCode ?? '' };
      const d = await ask(client, type, c.flag, fallback, c.context ?? {});
      const got = { value: d.value, variant: d.variant ?? '', reason: d.reason, errorCode: d.errorCode ?? '' };
      if (stable(got) !== stable(want)) {
        wrong++;
        console.error(`${c.story}\n  ${type} ${c.flag} for ${stable(c.context)}\n  want ${stable(want)}\n  got  ${stable(got)}`);
      }
    }
  }
}

const quiet = { error() {}, warn() {}, info() {}, debug() {} };
const bySet = new Map();
for (const c of cases) bySet.set(c.set ?? '', [...(bySet.get(c.set ?? '') ?? []), c]);
let changed;
for (const [set, group] of bySet) {
  const selector = set ? `flagSetId=${set}` : '';
  const options = { resolverType: 'in-process', host, port: Number(port), selector, deadlineMs: 10000 };
  const domain = set || 'no selector';
  await OpenFeature.setProviderAndWait(domain, new FlagdProvider(options, quiet));
  const client = OpenFeature.getClient(domain);
  changed ??= new Promise((resolve) => client.addHandler(ProviderEvents.ConfigurationChanged, (e) => resolve(e.flagsChanged)));
  for (const c of group) await check(client, c);
}
if (process.env.FLAGSYNC_TEST_CHANGE) {
  process.stdout.write('ready\n');
  const flags = await changed;
  if (!flags.includes(cases[0].flag)) {
    wrong++;
    console.error(`told of changes of ${flags}, and not of ${cases[0].flag}`);
  }
}
await OpenFeature.close();
console.log(`${cases.length} cases, ${asked} questions, ${wrong} wrong answers`);
process.exit(wrong || !asked ? 1 : 0);
