// Package spool is the durable log that usage is kept in until the ledger has it: a folder
// of segments that is appended to by many and read by one uploader.
//
// A record is durable when its Ticket's Wait returns nil. One goroutine writes all records
// that have gathered, makes them durable with one fdatasync, and wakes all who wait: while
// the disk works, the next group gathers.
//
// # Files
//
//	lock                 held by the process that uses the folder
//	identity             the log's id, and the file's own inode: a copy has another
//	cursor               up to where the ledger has counted, the hash of all before, and
//	                     how far the log was durable by then
//	0000000000000000000.log …  segments, named by the number of their first record
//	quarantine/          what could not be read, or belongs to a history that ended
//
// Records are numbered from 0. A hash chains them: that of a place is the SHA-256 of the
// hash before and the record; that of place 0 is "". A segment begins with the number and
// the hash of its first record.
//
// # What a crash and a damaged disk leave
//
// Each record says how many of its group stand before it. A group is written only when the
// one before it is durable, so what does not read in the last segment is a torn group, that
// nobody was told of, unless a later group follows, or the cursor knows better. All else
// that does not read is damage: the segment is quarantined. Its records before the damage
// are still read; those after it are lost with their numbers (Batch.Lost), and the file goes
// to the quarantine folder instead of being removed. A record's checksum begins with that of
// its segment's header, which holds random bytes, so that old bytes in a preallocated segment
// are never a record.
//
// A segment whose write or fsync failed is never written or synced again: its records that
// are not yet durable go to a new one, that takes the numbers from there on. When that fails
// too, they are refused, and so is everything until a new segment could be made. What was
// refused does not come back while the process lives; after a crash it may, once.
package spool
