// Package barrel simulates an honest smart seal barrel: the device that holds
// one physical seal and lets it be pressed only as often, and only after such
// verification, as a signed grant of the gateway says.
//
// Machine is the barrel's mind, pure: inputs and the time go in, actions come
// out, and tests drive it by tables. Barrel is the device around it: it owns
// the clock, the durable memory, the radio and the sensors, carries the
// actions out in order, and simulates the people (Finger, Face, Press, Tamper)
// and mishaps (PowerLoss, Reboot).
//
// What it keeps to, whatever happens:
//
//   - It is locked unless a grant that it checked itself says otherwise, and
//     locks when lease, link, power or the grant's time runs out.
//   - A grant's counter must be higher than any before, and is durable before
//     the first prompt is spoken. No grant works twice, not even after a reset.
//   - A stamping is counted in durable memory before the seal can move. After a
//     loss of power the count may be one too high, never too low.
//   - Each stamping has a signed receipt and each use a signed statement at its
//     end; they stay in durable memory until the gateway has them.
package barrel
