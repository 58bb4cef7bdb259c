// Package client asks a tiergate sidecar who may use what, over its decision API: Check,
// Consume, Track, and Reserve with Extend, Commit and Release. Middleware for net/http
// guards routes: RequireFeature answers 403, EnforceLimit 429. Fiber's is in fibergate, so that
// programs without Fiber do not link it.
//
// A call that is sent again, because nobody knows whether it arrived, carries the same
// idempotency key: a retried Consume never takes twice.
package client
