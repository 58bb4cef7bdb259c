import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: 'http://127.0.0.1:8016' }));
const client = OpenFeature.getClient();
const alice = { targetingKey: 'alice', teamId: 'acme' };

if (await client.getBooleanValue('model-training', false, alice)) console.log('alice trains models');
const { value, variant, flagMetadata } = await client.getNumberDetails('max-upload-mb', 1, alice);
console.log(`uploads up to ${value} MB (${variant}), on tier ${flagMetadata.tier}`);

await OpenFeature.close(); // when the program ends
