/*
 * The limit: the least that a CONNECT relay can cost on a machine. One thread, epoll, splice; no policy, no names, no
 * records, no timeouts. It believes every CONNECT head that comes in one piece, and dials the origin whatever it says.
 *
 *   limit PORT ORIGIN_PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define PIPE_SIZE (1024 * 1024)
#define SPARE_PIPES 64
#define SMALL (16 * 1024)

struct side {
  struct tunnel *tunnel;
  int fd;
  int readable, writable;
  int ended, passed_on; /* the end of what this side sends: seen, told to the other side */
  int bulk;             /* the last read was large */
  int pipe[2];          /* borrowed while it holds bytes that this side has sent */
  size_t held;
};

struct tunnel {
  enum { HEAD, DIALLING, RELAYING, DEAD } state;
  struct side client, server;
};

static int epoll;
static struct sockaddr_in origin;
static int spare[SPARE_PIPES][2], spares;

static int borrow_pipe(int *ends) {
  if (spares > 0) return memcpy(ends, spare[--spares], sizeof spare[0]), 1;
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) return 0;
  fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
  return 1;
}

static void return_pipe(int *ends) {
  if (spares < SPARE_PIPES) {
    memcpy(spare[spares++], ends, sizeof spare[0]);
  } else {
    close(ends[0]);
    close(ends[1]);
  }
}

/* The next bytes of a side, into a pipe: how many, 0 at the end, -1 with errno. */
static ssize_t fill(struct side *from) {
  if (!borrow_pipe(from->pipe)) return -1;
  ssize_t got = splice(from->fd, NULL, from->pipe[1], NULL, PIPE_SIZE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got > 0) from->held = got, from->bulk = got >= SMALL;
  else return_pipe(from->pipe);
  return got;
}

/* The same for small pieces, which are cheaper to copy; what is not taken at once goes into a pipe. */
static ssize_t copy(struct side *from, struct side *to) {
  static char bytes[SMALL];
  ssize_t got = recv(from->fd, bytes, SMALL, 0);
  if (got <= 0) return got;
  from->bulk = got == SMALL;
  ssize_t sent = send(to->fd, bytes, got, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return -1;
  if (sent < 0) sent = 0;
  if (sent < got) {
    if (!borrow_pipe(from->pipe) || write(from->pipe[1], bytes + sent, got - sent) < 0) return -1;
    from->held = got - sent;
  }
  return got;
}

/* Moves what can be moved. Returns 0 when one side is broken. */
static int move(struct side *from, struct side *to) {
  for (;;) {
    if (from->held > 0) {
      if (!to->writable) return 1;
      ssize_t sent = splice(from->pipe[0], NULL, to->fd, NULL, from->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (sent < 0 && errno != EAGAIN) return 0;
      if (sent < 0) to->writable = 0;
      else if ((from->held -= sent) == 0) return_pipe(from->pipe);
      continue;
    }
    if (from->ended) {
      if (!from->passed_on) shutdown(to->fd, SHUT_WR);
      return from->passed_on = 1;
    }
    if (!from->readable || !to->writable) return 1;
    ssize_t got = from->bulk ? fill(from) : copy(from, to);
    if (got < 0 && errno != EAGAIN) return 0;
    if (got < 0) from->readable = 0;
    if (got == 0) from->ended = 1;
  }
}

static void watch(struct side *side) {
  int on = 1;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = side};
  setsockopt(side->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  epoll_ctl(epoll, EPOLL_CTL_ADD, side->fd, &event);
}

static void accept_all(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    struct tunnel *tunnel = calloc(1, sizeof *tunnel);
    tunnel->client.tunnel = tunnel->server.tunnel = tunnel;
    tunnel->client.fd = fd;
    tunnel->server.fd = -1;
    watch(&tunnel->client);
  }
}

static int dial(struct tunnel *tunnel) {
  char head[4096];
  ssize_t got = recv(tunnel->client.fd, head, sizeof head, 0);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got < 12 || memcmp(head, "CONNECT ", 8) || memcmp(head + got - 4, "\r\n\r\n", 4)) return 0;
  tunnel->client.readable = 0;
  tunnel->state = DIALLING;
  tunnel->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (connect(tunnel->server.fd, (void *)&origin, sizeof origin) < 0 && errno != EINPROGRESS) return 0;
  watch(&tunnel->server);
  return 1;
}

/* Returns 0 when the tunnel is over. */
static int advance(struct side *side, unsigned events) {
  static const char reply[] = "HTTP/1.1 200 OK\r\n\r\n";
  struct tunnel *tunnel = side->tunnel;
  struct side *client = &tunnel->client, *server = &tunnel->server;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) side->readable = 1;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) side->writable = 1;
  if (tunnel->state == HEAD) return client->readable ? dial(tunnel) : 1;
  if (tunnel->state == DIALLING) {
    if (side == client) return 1;
    if (events & EPOLLERR || send(client->fd, reply, sizeof reply - 1, MSG_NOSIGNAL) < 0) return 0;
    tunnel->state = RELAYING;
  }
  struct side *other = side == client ? server : client;
  return move(side, other) && move(other, side) && !(client->passed_on && server->passed_on);
}

static void end(struct tunnel *tunnel) {
  struct side *sides[] = {&tunnel->client, &tunnel->server};
  for (int i = 0; i < 2; i++) {
    if (sides[i]->fd >= 0) close(sides[i]->fd);
    if (sides[i]->held == 0) continue;
    close(sides[i]->pipe[0]);
    close(sides[i]->pipe[1]);
  }
  tunnel->state = DEAD;
}

static int listen_on(int port) {
  struct sockaddr_in address = origin;
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  address.sin_port = htons(port);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) perror("limit"), exit(1);
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  return listener;
}

int main(int count, char **words) {
  if (count != 3) return fputs("limit PORT ORIGIN_PORT\n", stderr), 2;
  origin.sin_family = AF_INET;
  origin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  origin.sin_port = htons(atoi(words[2]));
  epoll = epoll_create1(0);
  int listener = listen_on(atoi(words[1]));
  struct epoll_event events[EVENTS];
  for (;;) {
    struct tunnel *dead[EVENTS];
    int deaths = 0, ready = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < ready; i++) {
      struct side *side = events[i].data.ptr;
      if (!side) accept_all(listener);
      if (!side || side->tunnel->state == DEAD || advance(side, events[i].events)) continue;
      end(side->tunnel);
      dead[deaths++] = side->tunnel;
    }
    /* Both sides of a tunnel may stand in one batch of events. */
    while (deaths > 0) free(dead[--deaths]);
  }
}
