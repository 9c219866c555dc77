// Recordings by Deepgram's own SDK. node recorded_sdk.js KEY ADDRESS FILE URL CALLBACK: prints what was answered.
const fs = require('fs');
const { DeepgramClient } = require('@deepgram/sdk');

const [key, address, file, url, callback] = process.argv.slice(2);
const ws = address.replace('http', 'ws');
const environment = { base: address, production: ws, agent: ws, agentRest: address };
const options = { model: 'nova-3', smart_format: true, utterances: true, tag: ['a', 'b'] };

(async () => {
  const client = new DeepgramClient({ apiKey: key, environment, maxRetries: 0 });
  const media = client.listen.v1.media;
  const answers = {
    stream: await media.transcribeFile(fs.createReadStream(file), options),
    buffer: await media.transcribeFile(fs.readFileSync(file), options),
    url: await media.transcribeUrl({ url, ...options }),
    callback: await media.transcribeFile(fs.readFileSync(file), { ...options, callback }),
  };
  const granted = await client.auth.v1.tokens.grant({ ttl_seconds: 60 });
  const other = new DeepgramClient({ accessToken: granted.access_token, environment, maxRetries: 0 });
  answers.granted = await other.listen.v1.media.transcribeFile(fs.readFileSync(file), options);
  try {
    await media.transcribeFile(Buffer.from('no audio'), options);
  } catch (error) {
    answers.refused = { status: error.statusCode, body: error.body };
  }
  console.log(JSON.stringify(answers));
})();
