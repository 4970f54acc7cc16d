/* Draws the denials over time by reason as stacked bars. */
;(() => {
  const place = document.getElementById('timeline')
  const data = document.getElementById('timeline-data')
  if (!place || !data) return
  const { width, starts, series } = JSON.parse(data.textContent)

  // A stack is drawn from the back: the sum of all first, each further one without the one before it.
  const heights = series.map((_, index) =>
    starts.map((_, bar) => series.slice(index).reduce((sum, { counts }) => sum + counts[bar], 0)),
  )
  // Bars stand on the middle of their time.
  const middles = starts.map((start) => start + width / 2)
  const ends = [starts[0], starts.at(-1) + width]
  const count = (value) => (value === null || value === undefined ? '–' : value.toLocaleString('en-US'))
  const moment = (seconds) => {
    const text = new Date((seconds - width / 2) * 1000).toISOString().replace('T', ' ')
    return text.slice(0, width < 60 ? 19 : 16)
  }
  const dark = matchMedia('screen and (prefers-color-scheme: dark)')
  /** The hour, and below it the day where it is another. */
  const times = (_, ticks) => {
    let day = ''
    return ticks.map((seconds) => {
      const [date, clock] = new Date(seconds * 1000).toISOString().split('T')
      const hour = clock.slice(0, width < 60 ? 8 : 5)
      const text = date === day ? hour : width < 86400 ? `${hour}\n${date}` : date
      day = date
      return text
    })
  }
  let chart

  function draw() {
    const style = getComputedStyle(document.documentElement)
    const color = (name) => style.getPropertyValue(name).trim()
    const axis = {
      stroke: color('--dim'),
      grid: { stroke: color('--line'), width: 1 },
      ticks: { stroke: color('--line'), width: 1 },
    }
    chart?.destroy()
    chart = new uPlot(
      {
        width: place.clientWidth,
        height: Math.min(Math.max(place.clientWidth * 0.3, 180), 320),
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
        // Room for half of the last date.
        padding: [null, 40, null, null],
        cursor: { points: { show: false }, drag: { x: false, y: false }, y: false },
        scales: { x: { range: ends }, y: { range: (_, __, most) => [0, Math.max(most, 1) * 1.05] } },
        axes: [
          { ...axis, values: times, space: 80 },
          {
            ...axis,
            size: 60,
            incrs: [...Array(12).keys()].flatMap((zeros) => [1, 2, 5].map((step) => step * 10 ** zeros)),
            values: (_, ticks) => ticks.map(count),
          },
        ],
        series: [
          { label: 'from (UTC)', value: (_, seconds) => (seconds === null ? '–' : moment(seconds)) },
          ...series.map(({ reason, counts }, index) => ({
            label: reason,
            fill: color(`--s${index + 1}`),
            stroke: color(`--s${index + 1}`),
            width: 0,
            paths: uPlot.paths.bars({ size: [0.8, 100] }),
            points: { show: false },
            value: (_, __, ___, bar) => (bar === null ? '–' : count(counts[bar])),
          })),
        ],
      },
      [middles, ...heights],
      place,
    )
  }

  draw()
  dark.addEventListener('change', draw)
  addEventListener('beforeprint', draw)
  let wide = place.clientWidth
  new ResizeObserver(() => {
    if (place.clientWidth === wide) return
    wide = place.clientWidth
    draw()
  }).observe(place)
})()
