package application

import (
	"context"
	"errors"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Users keeps what tenants say of their users.
type Users struct {
	store ports.Store
}

// NewUsers wires the use case.
func NewUsers(store ports.Store) *Users { return &Users{store: store} }

// Put changes a user's profile: the user's own doing, or the backend's.
func (u *Users) Put(ctx context.Context, c Caller, id string, patch domain.UserPatch) (domain.User, error) {
	user, err := domain.CheckUserID("user_id", id)
	if err != nil {
		return domain.User{}, err
	}
	if err := c.CheckUser(user); err != nil {
		return domain.User{}, err
	}
	return ports.Update(ctx, u.store, c.Tenant.ID, func(tx ports.Tx) (domain.User, error) {
		stored, err := tx.User(user)
		if errors.Is(err, domain.ErrUserNotFound) {
			stored, err = domain.User{ID: user}, nil
		}
		if err != nil {
			return stored, err
		}
		patched, _, err := patch.Apply(stored)
		if err != nil {
			return stored, err
		}
		return patched, tx.PutUser(patched) // unchanged too: the user exists from now on
	})
}

// Get returns a profile: the caller's own, that of somebody who shares a room with the caller, or to the backend any.
// Everybody else is domain.ErrUserNotFound.
func (u *Users) Get(ctx context.Context, c Caller, id string) (domain.User, error) {
	user, err := domain.CheckUserID("user_id", id)
	if err != nil {
		return domain.User{}, domain.ErrUserNotFound
	}
	return ports.View(ctx, u.store, c.Tenant.ID, func(r ports.Reader) (domain.User, error) {
		mates, err := r.RoomMates(c.User, []domain.UserID{user})
		if err != nil {
			return domain.User{}, err
		}
		if len(mates) == 0 {
			return domain.User{}, domain.ErrUserNotFound
		}
		return r.User(user)
	})
}
