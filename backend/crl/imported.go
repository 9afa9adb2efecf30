package crl

import "context"

func (s *Service) watch(context.Context) error { return nil }
