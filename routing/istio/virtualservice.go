package istio

import "fairway.dev/routing/dialect"

func (j *joint) joinRoutes(s *dialect.Sheet) {}
