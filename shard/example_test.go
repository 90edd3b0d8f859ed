package shard_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
	"github.com/godurable/dog/shard"
)

// Likes counts the likes of the posts of one shard.
type Likes struct{ dog.Object }

// Like counts a like of a post and returns the post's likes.
func (l *Likes) Like(_ context.Context, post string) (int, error) {
	return dog.MapOf[int](l.Storage(), "post/").Update(post, func(n int) (int, error) { return n + 1, nil })
}

// Total returns the likes of all posts of the shard.
func (l *Likes) Total(context.Context) (total int, err error) {
	for post, err := range dog.MapOf[int](l.Storage(), "post/").List(dog.ListOptions{}) {
		if err != nil {
			return 0, err
		}
		total += post.Value
	}
	return total, nil
}

// Sixteen objects share the posts. A post always belongs to the same one, and a
// total asks all of them.
func Example() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	likes, err := dog.RegisterObject[Likes](rt, "likes", nil)
	if err != nil {
		log.Fatal(err)
	}
	shards, err := shard.New(likes, "blog", 16)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	for _, post := range []string{"dogs", "parrots", "dogs"} {
		fmt.Println(post, shards.For(post).Name())
		if _, err := dog.Call(ctx, shards.For(post), (*Likes).Like, post); err != nil {
			log.Fatal(err)
		}
	}
	results, err := shard.Ask(ctx, shards, shard.Options{}, func(ctx context.Context, s dog.Stub[Likes]) (int, error) {
		return dog.Call0(ctx, s, (*Likes).Total)
	})
	if err != nil {
		log.Fatal(err)
	}
	total := 0
	for _, result := range results {
		if result.Err != nil {
			log.Print(result.Shard, result.Err) // the total lacks this shard
			continue
		}
		total += result.Value
	}
	fmt.Println(total, "likes")
	// Output:
	// dogs blog/7
	// parrots blog/6
	// dogs blog/7
	// 3 likes
}
