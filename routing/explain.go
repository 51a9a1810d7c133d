package routing

type Explanation struct{ Result Result }

func (p *Port) Explain(r *Request) *Explanation { return &Explanation{Result: p.Match(r)} }
func (e *Explanation) String() string           { return "" }
