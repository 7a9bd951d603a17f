package router

import (
	"maps"
	"slices"
)

// nine returns the tier instruments with their enforced limits; prices are invented.
func nine() []Instrument {
	limits := map[string]Instrument{
		"standard": {Context: 128_000, MaxInput: 120_000, MaxOutput: 65_536, PriceNanoUSD: 300_000_000},
		"prime":    {Context: 196_608, MaxInput: 120_000, MaxOutput: 131_072, PriceNanoUSD: 900_000_000},
		"max":      {Context: 1_000_000, MaxInput: 922_000, MaxOutput: 128_000, PriceNanoUSD: 6_000_000_000},
	}
	var list []Instrument
	for _, family := range []string{"text", "code", "agent"} {
		for _, tier := range slices.Sorted(maps.Keys(limits)) {
			in := limits[tier]
			in.ID, in.Family, in.Tier = family+"-"+tier, family, tier
			in.Preview = family != "text"
			list = append(list, in)
		}
	}
	return list
}

type change func([]Instrument) []Instrument

func market(left int, changes ...change) Snapshot {
	list := nine()
	for _, c := range changes {
		list = c(list)
	}
	return Snapshot{Instruments: list, LeftPercent: left}
}

func alter(f func(*Instrument), ids ...string) change {
	return func(list []Instrument) []Instrument {
		for i := range list {
			if slices.Contains(ids, list[i].ID) {
				f(&list[i])
			}
		}
		return list
	}
}

func dry(ids ...string) change  { return alter(func(in *Instrument) { in.Dry = true }, ids...) }
func down(ids ...string) change { return alter(func(in *Instrument) { in.Down = true }, ids...) }
func toolless(ids ...string) change {
	return alter(func(in *Instrument) { in.NoTools = true }, ids...)
}

func without(ids ...string) change {
	return func(list []Instrument) []Instrument {
		return slices.DeleteFunc(list, func(in Instrument) bool { return slices.Contains(ids, in.ID) })
	}
}

func with(more ...Instrument) change {
	return func(list []Instrument) []Instrument { return append(list, more...) }
}
