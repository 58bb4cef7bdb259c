// Package examples holds programs and settings to copy from: a small service guarded by the
// client's middlewares, with net/http and with Fiber, and nginx with auth_request. Its tests run
// all of them as they stand here.
package examples
