package gridtest

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
)

// pageJSON is one page of a list, newest first where there is an order in time.
type pageJSON[T any] struct {
	Data   []T `json:"data"`
	Paging struct {
		Next    *string `json:"next_cursor"`
		Prev    *string `json:"prev_cursor"`
		HasMore bool    `json:"has_more"`
	} `json:"paging"`
}

// pageOf cuts the page out that a query asks for. Cursors are positions.
func pageOf[T any](q url.Values, all []T) (page pageJSON[T], no *refusal) {
	limit, err := strconv.Atoi(cmp.Or(q.Get("limit"), "50"))
	if err != nil || limit < 1 || limit > 100 {
		return page, refuse(http.StatusUnprocessableEntity, "limit must be between 1 and 100")
	}
	if q.Has("next") && q.Has("prev") {
		return page, refuse(http.StatusUnprocessableEntity, "next and prev exclude each other")
	}
	start, err := strconv.Atoi(cmp.Or(q.Get("next"), q.Get("prev"), "0"))
	if err != nil || start < 0 {
		return page, refuse(http.StatusUnprocessableEntity, "the cursor is not one of this list")
	}
	start = min(start, len(all))
	end := min(start+limit, len(all))
	page.Data = append([]T{}, all[start:end]...)
	if page.Paging.HasMore = end < len(all); page.Paging.HasMore {
		next := strconv.Itoa(end)
		page.Paging.Next = &next
	}
	if start > 0 {
		prev := strconv.Itoa(max(start-limit, 0))
		page.Paging.Prev = &prev
	}
	return page, nil
}
