import { OpenFeature } from '@openfeature/server-sdk';
import { FlagdProvider } from '@openfeature/flagd-provider';

const settings = { host: '127.0.0.1', port: 8013, retryBackoffMs: 100, retryBackoffMaxMs: 1000 };
await OpenFeature.setProviderAndWait(new FlagdProvider(settings));
const client = OpenFeature.getClient();
const alice = { targetingKey: 'alice', teamId: 'acme' };

if (await client.getBooleanValue('model-training', false, alice)) console.log('alice trains models');
const { value, variant, flagMetadata } = await client.getNumberDetails('max-upload-mb', 1, alice);
console.log(`uploads up to ${value} MB (${variant}), on tier ${flagMetadata.tier}`);

await OpenFeature.close(); // when the program ends
