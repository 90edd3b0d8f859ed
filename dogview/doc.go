// Package dogview is a page that shows a runtime of dog while it works, for
// those who run it:
//
//	view, err := dogview.New(rt, dogview.Options{Rights: dogview.Local(dogview.All)})
//	http.Handle("/dog/", http.StripPrefix("/dog", view))
//
// It shows the totals of each type once a second, groups with the load of their
// replicas, the sockets that are slowest, alarms that have failed, and the
// objects by name. Of an object it shows the keys, the alarms and the tables.
// It can drain replicas, reset an object and let a failed alarm run again.
//
// # Rights
//
// The program decides who may do what, by [Options].Rights, which is asked for
// each request. Without it nobody may do anything. Each thing needs its own
// [Rights]: See, Data or Act.
//
// The view believes no header that a proxy may have set or passed on, such as
// X-Forwarded-For. It refuses what a page of another site asks for or would
// change, and has no other protection than Rights against programs.
// Set [Options].Hosts where the page is reached without a proxy that checks the
// Host, such as on localhost, since a name that an attacker points at your
// address would otherwise be one more origin with your rights. [Local] checks
// the Host itself.
//
// # What it costs
//
// Nothing is computed until somebody looks for the first time. From then on
// the events of the runtime are counted, also while nobody looks, which costs
// each of them about 12 ns (see [dog.Runtime.Totals]). Everything else is
// computed only while somebody looks. Whoever looks gets the totals of the
// runtime once a second, computed once for all, and there may be 16 at a time.
// Groups, slow sockets and lists are computed when the page asks for them,
// every five seconds while they are shown; slow sockets visit every socket of
// the runtime. A hidden page asks for nothing.
//
// # What it reads
//
// Keys, alarms and tables are read in the object's turn, as they are stored,
// and the object does not start. A reader waits for the turn for two seconds at
// most, and keeps it while it reads one page: 100 keys, or 100 rows for as long
// as a query may take (see [dog.SQL]). A replica that is not in memory is not
// read, since that would start its group. Values are cut at 1 KiB. Reads count
// in the totals like those of the program.
//
// There is no way to write. Tables are shown page by page, and the client sends
// their names, not SQL. The storage refuses each change while the view reads,
// and missing steps of a Schema do not run.
package dogview
