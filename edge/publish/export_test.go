package publish

// NumberOf lets the fuzzer at what a foreign server sent.
var NumberOf = numberOf
