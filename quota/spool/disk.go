package spool

// Disk is the real file system, for those who put something in front of it.
func Disk() FS { return disk{} }
