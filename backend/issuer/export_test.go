package issuer

// Verified returns how many signatures the set has verified to find chains.
func (s *Set) Verified() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proofs.verified
}
