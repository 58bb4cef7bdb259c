# one flag, of a known type: ResolveBoolean, ResolveString, ResolveFloat, ResolveInt, ResolveObject
curl -sf 127.0.0.1:8013/flagd.evaluation.v2.Service/ResolveFloat \
  -H 'Content-Type: application/json' -d '{"flagKey": "max-upload-mb", "context": {"targetingKey": "alice", "teamId": "acme"}}'

# all flags
curl -sf 127.0.0.1:8013/flagd.evaluation.v1.Service/ResolveAll \
  -H 'Content-Type: application/json' -d '{"context": {"targetingKey": "alice"}}'

# may carol export, and how much is left? This counts one
curl -sf 127.0.0.1:8013/tiergate.v1.DecisionService/Consume \
  -H 'Content-Type: application/json' -d '{"question": {"feature": "exports", "subject": {"user": "carol"}}}'
