//! The migrations of the database's schema, and the initial products of a new shop.

use shop_platform::database::Migration;

/// Prices are in minor units. Categories: 1 phones, 2 laptops, 3 audio,
/// 4 cameras, 5 wearables, 6 home.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    statements: &[
        "CREATE TABLE product (
            id {identity},
            category TEXT NOT NULL,
            name TEXT NOT NULL,
            description TEXT NOT NULL,
            price_minor_units BIGINT NOT NULL CHECK (price_minor_units >= 0)
        )",
        "INSERT INTO product (category, name, description, price_minor_units) VALUES
            ('2', 'Apple', '13-inch laptop in recycled aluminium: 16 GB of memory, 512 GB of storage, and a battery for the whole flight.', 9000000),
            ('2', 'Meridian 15', 'A 15-inch workhorse with a matte display, a keyboard made for writing, and every port you still need.', 7499000),
            ('1', 'Halo X2', 'A phone with a camera that sees at night and a glass back that survives the day.', 5499950),
            ('1', 'Pico Mini', 'The small phone that was missing: 5.4 inches, two days of battery, one hand.', 1899900),
            ('3', 'Nocturne', 'Closed headphones with quiet noise cancelling and 40 hours between charges.', 1249975),
            ('3', 'Ember', 'Light on-ear headphones that fold flat and stay paired with two devices at once.', 499900),
            ('4', 'Parallax 50', 'A mirrorless camera with a 33-megapixel sensor and dials you can use with gloves on.', 11250000),
            ('4', 'Aperture 35', 'A pocket camera with a fixed 35 mm lens, sharp from corner to corner.', 3890000),
            ('5', 'Tempo', 'A watch first: sapphire glass, hands that glow, and your heart rate when you ask.', 1599990),
            ('5', 'Stride', 'A running watch that finds its satellites at once and lasts two weeks.', 349900),
            ('6', 'Lumen', 'A desk lamp with warm and cool light and an arm that stays where you put it.', 279925),
            ('6', 'Vesper', 'A reading lamp that grows warmer as the evening does.', 645000)",
    ],
}];
