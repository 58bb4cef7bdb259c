package ops

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Usage is how the counting of limits and usage does. Counts are since the start.
type Usage struct {
	Holder     string    `json:"holder"`             // this process, as the ledger knows it
	LedgerAway bool      `json:"ledgerAway"`         // the ledger did not answer when it was last asked
	LastHeard  time.Time `json:"lastHeard,omitzero"` // by the ledger's clock
	Leases     int       `json:"leases"`             // counters that are known here
	Held       int64     `json:"held"`               // units that may be spent without asking
	Former     int       `json:"former"`             // former holders, dead processes or our own before, whose leases are not given back yet
	Abandoned  int64     `json:"abandoned"`          // former processes whose leases are set aside until somebody reconciles them

	Accepted   int64            `json:"accepted"`   // uses that were recorded
	Denied     map[string]int64 `json:"denied"`     // by reason
	Unrecorded int64            `json:"unrecorded"` // uses that were refused because they could not be recorded
	Duplicates int64            `json:"duplicates"` // events that another process had recorded as well: credited back
	Reused     int64            `json:"reused"`     // events whose idempotency key stood for something else
	Unreadable int64            `json:"unreadable"` // records that could not be read

	Exchanges      int64 `json:"exchanges"`
	Failures       int64 `json:"failures"` // exchanges without answer
	Fenced         int64 `json:"fenced"`   // times that another process had taken this one's place
	UploadFailures int64 `json:"uploadFailures"`

	Log UsageLog `json:"log"`
}

// A UsageLog is how the log on disk does.
type UsageLog struct {
	Records     int64         `json:"records"` // waiting for the ledger
	Bytes       int64         `json:"bytes"`
	OldestMs    int64         `json:"oldestMs"` // the age of the oldest that waits
	Rejected    int64         `json:"rejected"` // records refused because the log was full or broken
	Quarantined int           `json:"quarantined"`
	Conflicts   int64         `json:"conflicts"`       // times that it was not what the ledger knows
	Broken      bool          `json:"broken"`          // the disk takes no records: uses are refused
	Error       string        `json:"error,omitempty"` // what the disk does not take, and why
	Oldest      time.Duration `json:"-"`
}

var (
	leasesDesc     = describe("tiergate_quota_leases", "Counters of limits that are known to this process.")
	heldDesc       = describe("tiergate_quota_held_units", "Units that may be spent without asking the ledger.")
	forfeitedDesc  = describe("tiergate_quota_forfeited_units", "Units in the ledger that are set aside until somebody reconciles them.")
	lostDesc       = describe("tiergate_quota_lost_processes", "Processes whose units in the ledger are set aside until somebody reconciles them.")
	ledgerAgeDesc  = describe("tiergate_quota_ledger_age_seconds", "How old the figures of the whole ledger are; +Inf while nobody could look at it.")
	formerDesc     = describe("tiergate_quota_former_holders", "Former holders, of dead processes or of this one before, whose leases are not given back yet.")
	abandonedDesc  = describe("tiergate_quota_abandoned_processes_total", "Former processes whose leases are set aside until somebody reconciles them.")
	acceptedDesc   = describe("tiergate_quota_accepted_total", "Uses that were recorded.")
	deniedDesc     = describe("tiergate_quota_denied_total", "Uses that were denied, by reason.", "reason")
	unrecordedDesc = describe("tiergate_quota_unrecorded_total", "Uses that were refused because they could not be recorded.")
	duplicatesDesc = describe("tiergate_quota_duplicates_total", "Events that another process had recorded as well.")
	reusedDesc     = describe("tiergate_quota_reused_keys_total", "Events whose idempotency key stood for something else.")
	exchangesDesc  = describe("tiergate_quota_exchanges_total", "Messages to the ledger, by outcome.", "outcome")
	fencedDesc     = describe("tiergate_quota_fenced_total", "Times that another process had taken this one's place.")
	awayDesc       = describe("tiergate_quota_ledger_away", "1 when the ledger did not answer when it was last asked.")

	logRecordsDesc     = describe("tiergate_spool_records", "Usage records that wait for the ledger.")
	logBytesDesc       = describe("tiergate_spool_bytes", "Bytes of usage records that wait for the ledger.")
	logAgeDesc         = describe("tiergate_spool_oldest_age_seconds", "The age of the oldest usage record that waits for the ledger.")
	logRejectedDesc    = describe("tiergate_spool_rejected_total", "Usage records refused because the log was full or broken.")
	logQuarantinedDesc = describe("tiergate_spool_quarantined_segments", "Segments of the usage log that were damaged and set aside.")
	logConflictsDesc   = describe("tiergate_spool_conflicts_total", "Times that the usage log was not what the ledger knows.")
	logUnreadableDesc  = describe("tiergate_spool_unreadable_records_total", "Usage records that could not be read.")
	logFailuresDesc    = describe("tiergate_spool_upload_failures_total", "Uploads of usage that failed.")
)

var usageDescs = []*prometheus.Desc{
	leasesDesc, heldDesc, forfeitedDesc, lostDesc, ledgerAgeDesc, formerDesc, abandonedDesc, acceptedDesc, deniedDesc, unrecordedDesc,
	duplicatesDesc, reusedDesc, exchangesDesc, fencedDesc, awayDesc, logRecordsDesc, logBytesDesc, logAgeDesc, logRejectedDesc,
	logQuarantinedDesc, logConflictsDesc, logUnreadableDesc, logFailuresDesc,
}

func (to sink) usage(u *Usage) {
	count := func(d *prometheus.Desc, n int64, labels ...string) { to.counter(d, uint64(max(0, n)), labels...) }
	to.gauge(leasesDesc, float64(u.Leases))
	to.gauge(heldDesc, float64(u.Held))
	to.gauge(formerDesc, float64(u.Former))
	count(abandonedDesc, u.Abandoned)
	count(acceptedDesc, u.Accepted)
	for reason, n := range u.Denied {
		count(deniedDesc, n, reason)
	}
	count(unrecordedDesc, u.Unrecorded)
	count(duplicatesDesc, u.Duplicates)
	count(reusedDesc, u.Reused)
	count(exchangesDesc, u.Exchanges, "answered")
	count(exchangesDesc, u.Failures, "failed")
	count(fencedDesc, u.Fenced)
	to.gauge(awayDesc, bit(u.LedgerAway))
	to.gauge(logRecordsDesc, float64(u.Log.Records))
	to.gauge(logBytesDesc, float64(u.Log.Bytes))
	to.gauge(logAgeDesc, u.Log.Oldest.Seconds())
	count(logRejectedDesc, u.Log.Rejected)
	to.gauge(logQuarantinedDesc, float64(u.Log.Quarantined))
	count(logConflictsDesc, u.Log.Conflicts)
	count(logUnreadableDesc, u.Unreadable)
	count(logFailuresDesc, u.UploadFailures)
}

// problems are what an operator should know of, a sentence each.
func (u *Usage) problems() []string {
	var out []string
	say := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(u.LedgerAway, "the ledger does not answer: only units that are held already are handed out")
	say(u.Abandoned > 0, "what %d former processes held is set aside until somebody reconciles it: see tiergate limits list", u.Abandoned)
	say(u.Log.Quarantined > 0, "%d segments of the usage log were damaged and are set aside", u.Log.Quarantined)
	say(u.Log.Conflicts > 0, "the usage log was not what the ledger knows: was the data folder copied, or the database restored?")
	say(u.Unreadable > 0, "%d usage records could not be read", u.Unreadable)
	say(u.Log.Error != "" && u.Log.Broken, "uses are refused: %s", u.Log.Error)
	say(u.Log.Error != "" && !u.Log.Broken, "%s (uses go on; what is counted stays on the disk until it does)", u.Log.Error)
	return out
}
