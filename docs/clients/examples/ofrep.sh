# one flag
curl -sf 127.0.0.1:8016/ofrep/v1/evaluate/flags/max-upload-mb \
  -H 'Content-Type: application/json' -d '{"context": {"targetingKey": "alice", "teamId": "acme"}}'

# all flags
curl -sf 127.0.0.1:8016/ofrep/v1/evaluate/flags \
  -H 'Content-Type: application/json' -d '{"context": {"targetingKey": "alice"}}'
