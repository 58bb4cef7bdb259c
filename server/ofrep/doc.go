// Package ofrep is the door for OpenFeature clients in any language: OFREP 0.3, single and
// bulk evaluation over HTTP. Where real providers demand more than the protocol says, it
// gives that: key, reason, variant and metadata in each answer, and key, errorCode,
// errorDetails and metadata in each error, whatever its status.
//
// An entity tag of a bulk answer covers everything that the answer depends on (history,
// revision, context, credential, set, clock), so that a 304 needs no evaluation.
//
// Such an answer also tells of a stream of events, which says when to ask again. Its address
// carries a signed pass that says who listens, so that nothing is remembered about clients.
package ofrep
