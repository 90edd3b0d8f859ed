// Package hook lets the tests of package client do with it what programs
// cannot. Package client sets its variable.
package hook

// NewClient is client.New with client.Options and a function in place of random
// numbers in [0, 1). It returns a *client.Client.
var NewClient func(address string, options any, random func() float64) (any, error)
