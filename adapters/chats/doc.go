// Package chats serves the second API of the server: /api/v1/chats and the socket /ws/chat, conversations between one user
// and an AI agent. It has shapes, statuses and events of its own over the same use cases: a chat is a room, and what is said
// in it is seen natively too. Sockets here are few and live at the pace of one conversation: each has a reader and a writer,
// and repeats in its own words the frames that the fan-out has encoded once for everybody.
package chats
