/*
 * The load generator and the origin behind the proxies. One thread, epoll, edge-triggered.
 *
 *   load origin PORT                    serves until its standard input ends
 *   load MODE PROXY_PORT TARGET HELLO COUNT SECONDS BYTES
 *
 *     setup   COUNT tunnels at a time, opened, closed and opened again, for SECONDS
 *     bulk    COUNT tunnels, each asking for BYTES again and again
 *     ping    COUNT tunnels, each asking for one byte again and again
 *     idle    COUNT tunnels, then {"open":…}, and once more when the standard input ends
 *
 * TARGET is what CONNECT names, or - for a proxy that takes no CONNECT; HELLO is a file with a TLS ClientHello, which
 * opens every tunnel. The origin answers it with one byte, and each request (8 bytes, a big-endian count) with as many; a
 * request for none closes. In setup it comes along with the ClientHello: the origin closes first, so that its own side
 * has the TIME_WAIT, and the proxy's search for a free port stays short however many tunnels there have been.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define MAX_SAMPLES 4000000
#define MAX_FAILURES 1000
#define DRAIN_SECONDS 5
static char buffer[256 * 1024];
static int epoll;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void watch(int fd, uint32_t events, void *data) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = data};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) perror("load: epoll_ctl"), exit(1);
}

static void no_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int parent_gone(void) {
  char byte;
  return read(0, &byte, 1) == 0;
}

/* ---- the origin ---- */

struct guest {
  int fd;
  size_t hello_left; /* bytes of the ClientHello that are still to come, once its header is here */
  int greeted;
  unsigned char field[8]; /* a record header (5) or a request (8) */
  size_t filled;
  uint64_t owed;
};

/* Returns 0 when the connection is over. */
static int serve(struct guest *guest) {
  for (;;) {
    if (guest->owed > 0) {
      size_t size = guest->owed < sizeof buffer ? guest->owed : sizeof buffer;
      ssize_t sent = send(guest->fd, buffer, size, MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN;
      guest->owed -= sent;
      continue;
    }
    size_t want = guest->greeted ? 8 : 5;
    ssize_t got = guest->hello_left > 0
                      ? recv(guest->fd, buffer, guest->hello_left < sizeof buffer ? guest->hello_left : sizeof buffer, 0)
                      : recv(guest->fd, guest->field + guest->filled, want - guest->filled, 0);
    if (got == 0) return 0;
    if (got < 0) return errno == EAGAIN;
    if (guest->hello_left > 0) {
      guest->hello_left -= got;
    } else if ((guest->filled += got) == want) {
      guest->filled = 0;
      if (guest->greeted) {
        uint64_t count;
        memcpy(&count, guest->field, 8);
        if (count == 0) return 0;
        guest->owed = be64toh(count);
      } else {
        guest->hello_left = guest->field[3] << 8 | guest->field[4];
      }
      continue;
    }
    if (!guest->greeted && guest->filled == 0 && guest->hello_left == 0) guest->greeted = guest->owed = 1;
  }
}

static int origin(int port) {
  static char listening, input;
  struct sockaddr_in address = loopback(port);
  struct epoll_event events[EVENTS];
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("load: listen"), 1;
  watch(listener, EPOLLIN, &listening);
  watch(0, EPOLLIN, &input);
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &input && parent_gone()) return 0;
      if (events[i].data.ptr == &input) continue;
      if (events[i].data.ptr == &listening) {
        for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          struct guest *guest = calloc(1, sizeof *guest);
          guest->fd = fd;
          no_delay(fd);
          watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, guest);
        }
        continue;
      }
      struct guest *guest = events[i].data.ptr;
      if (serve(guest)) continue;
      close(guest->fd);
      free(guest);
    }
  }
}

/* ---- the clients ---- */

enum step { DIALLING, ASKED, GREETED, BUSY, ENDING, CLOSED };

struct client {
  int fd;
  enum step step;
  double since; /* of the tunnel (setup) or of the request */
  uint64_t owed;
  char head[4096];
  size_t filled;
};

static struct {
  enum { SETUP, BULK, PING, IDLE } mode;
  struct sockaddr_in proxy;
  char connect[512];
  size_t connect_size; /* 0: no CONNECT */
  char hello[16 * 1024 + 8]; /* and a request for nothing */
  size_t hello_size;
  uint64_t bytes;
  double ends;
} plan;

static long done, failed, active, opened;
static float *samples;

static void sample(double since) {
  if (done < MAX_SAMPLES) samples[done] = (now() - since) * 1e6;
  done++;
}

static void dial(struct client *client) {
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (client->fd < 0) perror("load: socket"), exit(1);
  no_delay(client->fd);
  client->step = DIALLING;
  client->filled = 0;
  client->since = now();
  active++;
  connect(client->fd, (void *)&plan.proxy, sizeof plan.proxy);
  watch(client->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, client);
}

static int say(struct client *client, const void *bytes, size_t size) {
  return send(client->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static int greet(struct client *client) {
  client->step = GREETED;
  return say(client, plan.hello, plan.hello_size + (plan.mode == SETUP ? 8 : 0));
}

/* Asks for more, or ends the tunnel when the time is up. */
static int request(struct client *client) {
  uint64_t count = htobe64(plan.bytes);
  if (plan.mode == IDLE) return 1;
  if (plan.mode == SETUP) return client->step = ENDING;
  if (now() >= plan.ends) {
    client->step = ENDING;
    return shutdown(client->fd, SHUT_WR) == 0;
  }
  client->owed = plan.bytes;
  client->since = now();
  return say(client, &count, 8);
}

/* `size` bytes of the CONNECT's reply. */
static int read_head(struct client *client, ssize_t size) {
  client->filled += size;
  client->head[client->filled] = 0;
  if (!strstr(client->head, "\r\n\r\n")) return 1;
  if (client->filled > 12 && !strncmp(client->head + 8, " 200", 4)) return greet(client);
  if (failed == 0) fprintf(stderr, "load: %.*s\n", (int)strcspn(client->head, "\r"), client->head);
  return 0;
}

/* Returns 0 when the tunnel failed. */
static int advance(struct client *client, uint32_t events) {
  if (client->step == DIALLING) {
    if (!(events & EPOLLOUT) || events & EPOLLERR) return 0;
    client->step = ASKED;
    if (!(plan.connect_size ? say(client, plan.connect, plan.connect_size) : greet(client))) return 0;
  }
  for (;;) {
    size_t room = sizeof client->head - 1 - client->filled;
    ssize_t got = client->step == ASKED ? recv(client->fd, client->head + client->filled, room, 0)
                                        : recv(client->fd, buffer, 1 << 20, MSG_TRUNC); /* counted, not copied */
    if (got < 0) return errno == EAGAIN;
    if (got == 0) {
      if (client->step != ENDING) return 0;
      if (plan.mode == SETUP) sample(client->since);
      client->step = CLOSED;
      return 1;
    }
    if (client->step == ASKED) {
      if (!read_head(client, got)) return 0;
    } else if (client->step == GREETED) {
      client->step = BUSY;
      opened++;
      if (!request(client)) return 0;
    } else if (client->step == BUSY && (uint64_t)got <= client->owed) {
      if ((client->owed -= got) > 0) continue;
      sample(client->since);
      if (!request(client)) return 0;
    } else {
      return 0;
    }
  }
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

static void report(double seconds) {
  long kept = done < MAX_SAMPLES ? done : MAX_SAMPLES;
  qsort(samples, kept, sizeof *samples, by_value);
  printf("{\"done\":%ld,\"failed\":%ld,\"seconds\":%.4f,\"p50us\":%.1f,\"p99us\":%.1f}\n", done, failed, seconds,
         kept ? samples[kept / 2] : 0, kept ? samples[kept * 99 / 100] : 0);
}

/* As many tunnels at a time as make sense: an idle crowd comes in through a narrow door. */
static int run(long count, double seconds) {
  static char input;
  struct epoll_event events[EVENTS];
  struct client *clients = calloc(count, sizeof *clients);
  long at_once = plan.mode == IDLE && count > 64 ? 64 : count, dialled = 0;
  double began = now();
  int told = 0;
  plan.ends = began + seconds;
  while (dialled < at_once) dial(&clients[dialled++]);
  watch(0, EPOLLIN, &input);
  while (active > 0 && failed < MAX_FAILURES && (plan.mode == IDLE || now() < plan.ends + DRAIN_SECONDS)) {
    int ready = epoll_wait(epoll, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) {
      struct client *client = events[i].data.ptr;
      if (events[i].data.ptr == &input) {
        if (!parent_gone()) continue;
        if (plan.mode == IDLE) printf("{\"open\":%ld,\"failed\":%ld}\n", active, failed);
        return 0;
      }
      long before = opened;
      int good = advance(client, events[i].events);
      if (opened > before && plan.mode == IDLE && dialled < count) dial(&clients[dialled++]);
      if (good && client->step != CLOSED) continue;
      if (!good) failed++;
      close(client->fd);
      active--;
      if (plan.mode != IDLE && now() < plan.ends) dial(client);
    }
    if (plan.mode == IDLE && !told && opened == count) {
      printf("{\"open\":%ld,\"failed\":%ld}\n", opened, failed);
      fflush(stdout);
      told = 1;
    }
  }
  if (plan.mode != IDLE) failed += active, report(now() - began);
  return 0;
}

int main(int count, char **words) {
  static const char *const modes[] = {"setup", "bulk", "ping", "idle"};
  epoll = epoll_create1(0);
  if (count == 3 && !strcmp(words[1], "origin")) return origin(atoi(words[2]));
  if (count != 8) return fputs("load: see the head of load.c\n", stderr), 2;
  while (plan.mode < IDLE && strcmp(words[1], modes[plan.mode])) plan.mode++;
  plan.proxy = loopback(atoi(words[2]));
  if (strcmp(words[3], "-"))
    plan.connect_size = snprintf(plan.connect, sizeof plan.connect, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", words[3], words[3]);
  FILE *hello = fopen(words[4], "rb");
  if (!hello) return perror("load: the ClientHello"), 1;
  plan.hello_size = fread(plan.hello, 1, sizeof plan.hello - 8, hello);
  plan.bytes = strtoull(words[7], NULL, 10);
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  return run(atol(words[5]), atof(words[6]));
}
