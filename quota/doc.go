// Package quota counts: it says whether a use fits into the limits that apply to it, takes
// it, and records it, next to the application and without asking anybody for most calls.
//
// What it hands out was debited in a Ledger beforehand; see tiergate.Ledger for why that
// can never be too much. The Engine is the room's door, and consume.go its story. A holding
// is what one process knows of one lease, as plain data; Memory is the Ledger of a single
// process, and the plain form of every other; Calendar cuts time into periods; Rates holds
// rate limits; quota/spool is the log that usage is kept in until the Ledger has it.
package quota
