package client

// NewWithRandom is New with a function in place of a random number in [0, 1).
var NewWithRandom = newClient
